// Says something to a model of Bedrock through Spring AI, and prints each piece of text of the answer when it comes.
//
// Arguments: `whole` or `stream`; the model. An error ends the program as Java does by default.

import java.net.URL;
import org.springframework.ai.bedrock.converse.BedrockChatOptions;
import org.springframework.ai.bedrock.converse.BedrockProxyChatModel;

public final class Program {
    private static final String SAID = "Tell me of one ship and two seas";

    private static void print(String text) {
        System.out.println("piece: \"" + text + "\"");
    }

    /** Its jar tells its version by its name alone. */
    private static String version() {
        URL jar = BedrockProxyChatModel.class.getProtectionDomain().getCodeSource().getLocation();
        return jar.getPath().replaceAll(".*-converse-|\\.jar$", "");
    }

    public static void main(String[] arguments) {
        System.out.println("version: " + version());
        BedrockChatOptions options = BedrockChatOptions.builder().model(arguments[1]).build();
        BedrockProxyChatModel chat = BedrockProxyChatModel.builder().defaultOptions(options).build();
        if (arguments[0].equals("stream")) {
            chat.stream(SAID).doOnNext(Program::print).blockLast();
        } else {
            print(chat.call(SAID));
        }
    }
}
