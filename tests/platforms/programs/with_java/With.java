// Prints, for each line read, the credentials with which a client of the AWS SDK for Java v2 signs at that moment.
//
// Arguments: `sync` or `async`, the kind of client; `default`, `container`, `instance` or `process`, its provider.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import software.amazon.awssdk.auth.credentials.AwsCredentialsProvider;
import software.amazon.awssdk.auth.credentials.ContainerCredentialsProvider;
import software.amazon.awssdk.auth.credentials.InstanceProfileCredentialsProvider;
import software.amazon.awssdk.auth.credentials.ProcessCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.core.SelectedAuthScheme;
import software.amazon.awssdk.core.exception.SdkClientException;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.core.interceptor.SdkInternalExecutionAttribute;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.identity.spi.AwsSessionCredentialsIdentity;
import software.amazon.awssdk.services.bedrockruntime.BedrockRuntimeAsyncClient;
import software.amazon.awssdk.services.bedrockruntime.BedrockRuntimeClient;
import software.amazon.awssdk.services.bedrockruntime.model.ConverseRequest;

public final class With {
    private static final ConverseRequest REQUEST = ConverseRequest.builder().modelId("model").build();

    /** Catches what a client signed with, and lets nothing leave. */
    private static final class Catcher implements ExecutionInterceptor {
        volatile AwsSessionCredentialsIdentity caught;

        @Override
        public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
            SelectedAuthScheme<?> scheme = attributes.getAttribute(SdkInternalExecutionAttribute.SELECTED_AUTH_SCHEME);
            AwsSessionCredentialsIdentity keys = (AwsSessionCredentialsIdentity) scheme.identity().join();
            String signed = context.httpRequest().firstMatchingHeader("Authorization").orElse("");
            if (!signed.contains("Credential=" + keys.accessKeyId() + "/")) {
                throw SdkClientException.create("signed with other keys: " + signed);
            }
            caught = keys;
            throw SdkClientException.create("nothing is sent");
        }
    }

    private static AwsCredentialsProvider provider(String name) throws Exception {
        return switch (name) {
            case "container" -> ContainerCredentialsProvider.create();
            case "instance" -> InstanceProfileCredentialsProvider.create();
            case "process" -> ProcessCredentialsProvider.builder().command(command()).build();
            default -> null;
        };
    }

    /** What a profile says is the command; this provider is told it by the program. */
    private static String command() throws Exception {
        String key = "credential_process = ";
        for (String line : Files.readAllLines(Path.of(System.getenv("AWS_CONFIG_FILE")))) {
            if (line.startsWith(key)) {
                return line.substring(key.length());
            }
        }
        throw new IllegalStateException("no credential_process");
    }

    private static <B extends AwsClientBuilder<B, C>, C> C client(B builder, Catcher catcher, AwsCredentialsProvider provider) {
        builder.overrideConfiguration(override -> override.addExecutionInterceptor(catcher));
        return (provider == null ? builder : builder.credentialsProvider(provider)).build();
    }

    private static Runnable call(String kind, Catcher catcher, AwsCredentialsProvider provider) {
        if (kind.equals("async")) {
            BedrockRuntimeAsyncClient client = client(BedrockRuntimeAsyncClient.builder(), catcher, provider);
            return () -> client.converse(REQUEST).join();
        }
        BedrockRuntimeClient client = client(BedrockRuntimeClient.builder(), catcher, provider);
        return () -> client.converse(REQUEST);
    }

    private static void answer(String... fields) {
        StringBuilder text = new StringBuilder("{");
        for (int at = 0; at < fields.length; at += 2) {
            text.append(at == 0 ? "" : ",").append(quoted(fields[at])).append(':').append(quoted(fields[at + 1]));
        }
        System.out.println(text.append('}'));
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char character : text.toCharArray()) {
            if (character < ' ') {
                quoted.append(String.format("\\u%04x", (int) character));
            } else if (character == '"' || character == '\\') {
                quoted.append('\\').append(character);
            } else {
                quoted.append(character);
            }
        }
        return quoted.append('"').toString();
    }

    /** An error and its causes. */
    private static String told(Throwable error) {
        StringBuilder text = new StringBuilder();
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            text.append(text.length() == 0 ? "" : ": ").append(cause);
        }
        return text.toString();
    }

    public static void main(String[] arguments) throws Exception {
        answer("version", VersionInfo.SDK_VERSION);
        BufferedReader questions = new BufferedReader(new InputStreamReader(System.in));
        Catcher catcher = new Catcher();
        Runnable call = null;
        while (questions.readLine() != null) {
            catcher.caught = null;
            Throwable failure = null;
            try {
                if (call == null) {
                    call = call(arguments[0], catcher, provider(arguments[1]));
                }
                call.run();
            } catch (Throwable error) {
                failure = error;
            }
            AwsSessionCredentialsIdentity keys = catcher.caught;
            if (keys != null) {
                answer("id", keys.accessKeyId(), "secret", keys.secretAccessKey(), "token", keys.sessionToken());
            } else {
                answer("error", failure == null ? "the call was answered" : told(failure));
            }
        }
        System.exit(0);
    }
}
