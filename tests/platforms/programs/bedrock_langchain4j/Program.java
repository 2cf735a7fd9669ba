// Says something to a model of Bedrock through LangChain4j, and prints each piece of text of the answer when it comes.
//
// Arguments: `whole`, `stream` or `bare` (whole, without the setting that it needs); the model. An error ends the
// program as Java does by default.

import dev.langchain4j.model.bedrock.BedrockChatModel;
import dev.langchain4j.model.bedrock.BedrockStreamingChatModel;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import java.net.URL;
import java.util.concurrent.CompletableFuture;
import software.amazon.awssdk.regions.Region;

public final class Program {
    private static final String SAID = "Tell me of one ship and two seas";

    /** Prints what comes. */
    private static final class Printer implements StreamingChatResponseHandler {
        final CompletableFuture<Void> ended = new CompletableFuture<>();

        @Override
        public void onPartialResponse(String text) {
            print(text);
        }

        @Override
        public void onCompleteResponse(ChatResponse response) {
            ended.complete(null);
        }

        @Override
        public void onError(Throwable error) {
            ended.completeExceptionally(error);
        }
    }

    private static void print(String text) {
        System.out.println("piece: \"" + text + "\"");
    }

    /** Its jar tells its version by its name alone. */
    private static String version() {
        URL jar = BedrockChatModel.class.getProtectionDomain().getCodeSource().getLocation();
        return jar.getPath().replaceAll(".*-bedrock-|\\.jar$", "");
    }

    public static void main(String[] arguments) {
        String how = arguments[0];
        String model = arguments[1];
        System.out.println("version: " + version());
        if (how.equals("stream")) {
            Region region = Region.of(System.getenv("AWS_REGION"));
            Printer printer = new Printer();
            BedrockStreamingChatModel.builder().region(region).modelId(model).build().chat(SAID, printer);
            printer.ended.join();
        } else if (how.equals("bare")) {
            print(BedrockChatModel.builder().modelId(model).build().chat(SAID));
        } else {
            Region region = Region.of(System.getenv("AWS_REGION"));
            print(BedrockChatModel.builder().region(region).modelId(model).build().chat(SAID));
        }
    }
}
