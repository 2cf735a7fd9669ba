// Prints, for each line read, the credentials that the default chain of the AWS SDK for Kotlin holds at that moment.
//
// It is Java, so that no Kotlin compiler is needed.

import aws.sdk.kotlin.runtime.auth.credentials.DefaultChainCredentialsProvider;
import aws.smithy.kotlin.runtime.auth.awscredentials.Credentials;
import aws.smithy.kotlin.runtime.collections.AttributesKt;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.util.stream.Stream;
import kotlin.coroutines.EmptyCoroutineContext;
import kotlinx.coroutines.BuildersKt;

public final class WithKotlin {
    /** The version in the name of its archive; the SDK does not tell it. */
    private static String version() {
        String[] places = System.getProperty("java.class.path").split(":");
        String head = "aws-config-jvm-";
        String name = Stream.of(places).map(place -> new File(place).getName()).filter(place -> place.startsWith(head)).findFirst().orElseThrow();
        return name.substring(head.length(), name.length() - ".jar".length());
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

    /** An error with all that it tells of its causes and of what it suppressed. */
    private static String told(Throwable error) {
        StringBuilder text = new StringBuilder();
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            text.append(text.length() == 0 ? "" : ": ").append(cause);
            for (Throwable suppressed : cause.getSuppressed()) {
                text.append(" [").append(told(suppressed)).append(']');
            }
        }
        return text.toString();
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println("{\"version\":" + quoted(version()) + "}");
        DefaultChainCredentialsProvider chain = new DefaultChainCredentialsProvider();
        BufferedReader questions = new BufferedReader(new InputStreamReader(System.in));
        while (questions.readLine() != null) {
            try {
                Credentials keys = BuildersKt.runBlocking(EmptyCoroutineContext.INSTANCE,
                    (scope, then) -> chain.resolve(AttributesKt.emptyAttributes(), then));
                System.out.println("{\"id\":" + quoted(keys.getAccessKeyId()) + ",\"secret\":"
                    + quoted(keys.getSecretAccessKey()) + ",\"token\":" + quoted(keys.getSessionToken()) + "}");
            } catch (Throwable error) {
                System.out.println("{\"error\":" + quoted(told(error)) + "}");
            }
        }
        System.exit(0);
    }
}
