/* A PKCS#11 module in front of another one, as bad as a test wants it to be.
 *
 * $SHIM_MODULE is the real one, $SHIM_FOLDER holds files that change what this one does: `hang-loading` while it is loaded,
 * `crash`, `hang` and `stop` (the whole process) in C_Initialize, `crash-signing` and `hang-signing` in C_Sign, `final-try` in the token's flags, `in-parts` lets ECDSA
 * be made in parts, as OpenSC does. `fork` makes it start a process in C_Initialize that stays, and whose number is in `forked`. Each C_Login is a line in `logins`; `hangs` is there as soon as it hangs or stops.
 * It also prints to stdout, as some do.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long word;
struct list {
    unsigned char version[2];
    word (*call[68])();
};
enum { INITIALIZE = 0, GET_TOKEN_INFO = 6, LOGIN = 18, SIGN = 43, SIGN_UPDATE = 44, SIGN_FINAL = 45 };

static struct list *real, ours;
static unsigned char part[4096];
static word part_length;

static char *file(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("SHIM_FOLDER"), name);
    return path;
}

static int there(const char *name) { return access(file(name), F_OK) == 0; }

static void mark(const char *name) {
    FILE *mark = fopen(file(name), "w");
    fclose(mark);
}

static void misbehave(const char *crash, const char *hang) {
    if (there(crash)) *(volatile int *)0 = 1;
    if (there(hang)) mark("hangs");
    while (there(hang)) pause();
}

__attribute__((constructor)) static void load(void) { misbehave("-", "hang-loading"); }

/* As modules do that keep a helper of theirs. */
static void start_helper(void) {
    pid_t helper = fork();
    if (helper == 0) {
        for (;;) pause();
    }
    FILE *log = fopen(file("forking"), "w");
    fprintf(log, "%d", (int)helper);
    fclose(log);
    char *whole = strdup(file("forked"));
    rename(file("forking"), whole);
    free(whole);
}

static word initialize(void *arguments) {
    printf("Vendor module 1.0 ready\n");
    fflush(stdout);
    if (there("fork")) start_helper();
    misbehave("crash", "hang");
    if (there("stop")) {
        mark("hangs");
        kill(getpid(), SIGSTOP);
    }
    return real->call[INITIALIZE](arguments);
}

static word get_token_info(word slot, unsigned char *info) {
    word result = real->call[GET_TOKEN_INFO](slot, info);
    if (there("final-try")) *(word *)(info + 96) |= 0x20000; /* CKF_USER_PIN_FINAL_TRY */
    return result;
}

static word login(word session, word user, void *pin, word length) {
    FILE *log = fopen(file("logins"), "a");
    fprintf(log, "%lu\n", user);
    fclose(log);
    return real->call[LOGIN](session, user, pin, length);
}

static word sign(word session, void *data, word length, void *signature, word *signature_length) {
    misbehave("crash-signing", "hang-signing");
    return real->call[SIGN](session, data, length, signature, signature_length);
}

static word sign_update(word session, void *data, word length) {
    if (!there("in-parts")) return real->call[SIGN_UPDATE](session, data, length);
    memcpy(part, data, part_length = length);
    return 0;
}

static word sign_final(word session, void *signature, word *length) {
    if (!there("in-parts")) return real->call[SIGN_FINAL](session, signature, length);
    return real->call[SIGN](session, part, part_length, signature, length);
}

word C_GetFunctionList(struct list **list) {
    void *library = dlopen(getenv("SHIM_MODULE"), RTLD_NOW);
    if (!library) return 5; /* CKR_GENERAL_ERROR */
    word result = ((word (*)(struct list **))dlsym(library, "C_GetFunctionList"))(&real);
    ours = *real;
    ours.call[INITIALIZE] = initialize;
    ours.call[GET_TOKEN_INFO] = get_token_info;
    ours.call[LOGIN] = login;
    ours.call[SIGN] = sign;
    ours.call[SIGN_UPDATE] = sign_update;
    ours.call[SIGN_FINAL] = sign_final;
    *list = &ours;
    return result;
}
