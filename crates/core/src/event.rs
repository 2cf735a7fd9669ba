//! The events in the log, each with an id that never changes.
//!
//! An id is `area.what`. Programs and tests find a log line by its field `event`, which has the id; the text of the line
//! may change. Each line of level `info`, `warn` or `error` has an id of this table (`tests/events.rs`), and
//! docs/reference/events.md is made from the table.

/// A row of the table.
#[derive(Debug)]
pub struct Definition {
    /// The name of its constant in this module.
    pub constant: &'static str,
    /// The value of the field `event`.
    pub id: &'static str,
    /// The levels of its log lines.
    pub levels: &'static [&'static str],
    /// What has happened, in words for an operator.
    pub meaning: &'static str,
    /// What the operator should do.
    pub action: &'static str,
}

macro_rules! events {
    ($($constant:ident = $id:literal [$($level:ident)+] $meaning:literal $action:literal)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: &str = $id;
        )*

        /// Each event, in the order of the ids.
        pub const TABLE: &[Definition] = &[$(
            Definition {
                constant: stringify!($constant),
                id: $id,
                levels: &[$(stringify!($level)),+],
                meaning: $meaning,
                action: $action,
            },
        )*];
    };
}

events! {
    ACCESS_KEYS_RECOVERED = "access_keys.recovered" [info]
        "The access keys can be read again."
        "Nothing."
    ACCESS_KEYS_REFUSED = "access_keys.refused" [warn]
        "The access keys of a session cannot be read or used."
        "Do what `hint` says."
    ACCESS_KEYS_REPLACED = "access_keys.replaced" [info]
        "A session signs with other access keys from now on."
        "Nothing."
    ACCESS_KEYS_WARNING = "access_keys.warning" [warn]
        "The access keys are used, but their file has a problem, such as being readable by other users."
        "Do what the text says."
    CERTIFICATE_ACCEPTED = "certificate.accepted" [info]
        "AWS accepts a certificate that it refused before."
        "Nothing."
    CERTIFICATE_DENIED = "certificate.denied" [warn]
        "AWS refuses a new certificate. The session continues with the previous one until that expires."
        "Do what `hint` says before `in_use_not_after`."
    CERTIFICATE_ENDED = "certificate.ended" [error]
        "A certificate of the chain has expired."
        "Renew it."
    CERTIFICATE_ENDING = "certificate.ending" [warn]
        "A certificate of the chain expires soon."
        "Renew it before `not_after`."
    CERTIFICATE_LOADED = "certificate.loaded" [info]
        "A session uses this certificate from now on."
        "Nothing."
    CERTIFICATE_NOT_VALID_LOCALLY = "certificate.not_valid_locally" [warn]
        "The certificate is not valid by this host's clock. The session uses it all the same, because AWS uses its own clock."
        "Check this host's clock, then the certificate."
    CERTIFICATE_RECOVERED = "certificate.recovered" [info]
        "The certificate can be loaded again."
        "Nothing."
    CERTIFICATE_REFUSED = "certificate.refused" [warn]
        "The certificate or its key cannot be loaded. The session continues with the certificate it has."
        "Do what `hint` says before that one expires; provide a certificate and its private key."
    CERTIFICATE_UNAVAILABLE = "certificate.unavailable" [warn]
        "The certificate or its key cannot be loaded, and the session has no earlier certificate that is valid."
        "Do what `hint` says; provide a certificate and its private key."
    CERTIFICATE_UNUSABLE = "certificate.unusable" [warn]
        "The key of a new certificate cannot sign. The session continues with the previous certificate."
        "Do what `hint` says; check whether the token, TPM or agent that holds the key works."
    CERTIFICATE_WARNING = "certificate.warning" [warn]
        "The certificate is used, but it or one of its files has a problem, such as a key that is readable by other users."
        "Do what the text says."
    CLOCK_RIGHT = "clock.right" [info]
        "The local clock agrees with AWS's again."
        "Nothing."
    CLOCK_SET = "clock.set" [warn]
        "The local clock was set, by more than 30 s. All sessions renew."
        "If this was not on purpose, find out what sets this host's clock."
    CLOCK_WRONG = "clock.wrong" [warn]
        "The local clock differs from AWS's. Requests are signed with AWS's time."
        "Synchronise this host's clock."
    CONFIG_REFUSED = "config.refused" [error]
        "The new settings have mistakes and are not used. The current settings stay in force. There is a line for each mistake."
        "Correct `mistake`, check with `anchord config check`, and reload."
    CONFIG_RELOADED = "config.reloaded" [info]
        "New settings are in force."
        "Nothing."
    CONFIG_RESTART_NEEDED = "config.restart_needed" [warn]
        "Some of the new settings take effect only after a restart."
        "Restart the daemon."
    CONFIG_WARNING = "config.warning" [warn]
        "The settings are used, but one of them is probably a mistake."
        "Do what the text says."
    CONNECTION_PANICKED = "connection.panicked" [error]
        "The task of a client's connection has panicked. The listener continues."
        "Report it as a bug, with the event `task.panicked` before it."
    CONNECTION_REFUSED = "connection.refused" [warn]
        "A connection to a loopback address came from another host and was closed. `suppressed` counts others since the last warning."
        "Find out why packets from other hosts reach loopback: `sysctl net.ipv4.conf.all.route_localnet`, and rules that redirect to 127.0.0.1."
    CONTAINER_SERVING = "container.serving" [info]
        "Container credentials of a session are served to clients that have the token in `token_file`."
        "Nothing."
    CREDENTIALS_DROPPED = "credentials.dropped" [warn]
        "After a reload, a session dropped its credentials, because its new settings do not allow them."
        "Nothing, if the settings were changed on purpose. Clients wait until AWS has answered."
    CREDENTIALS_EXPIRED = "credentials.expired" [info error]
        "The credentials of a session have expired by AWS's time."
        "At `error`: do what `hint` says. At `info`: nothing, a renewal is under way."
    CREDENTIALS_INHERITED = "credentials.inherited" [warn]
        "After a reload, AWS grants no credentials for the new settings. The session hands out those of the earlier settings until they expire."
        "Do what `hint` says before `expires_at`, or restore the earlier settings."
    CREDENTIALS_KEPT = "credentials.kept" [info]
        "AWS has granted credentials that expire before the current ones. The session keeps the current ones."
        "Nothing."
    CREDENTIALS_RECOVERED = "credentials.recovered" [info]
        "A renewal has succeeded after failures."
        "Nothing."
    CREDENTIALS_RENEWAL_FAILED = "credentials.renewal_failed" [warn]
        "A renewal has failed. The session hands out its current credentials until they expire."
        "Do what `hint` says before `expires_at`. A `class` of transient or throttled often passes by itself."
    CREDENTIALS_RENEWED = "credentials.renewed" [info]
        "A session has new credentials."
        "Nothing."
    CREDENTIALS_RESUMED = "credentials.resumed" [info]
        "After a reload, a session continues with credentials that the same settings obtained earlier."
        "Nothing."
    CREDENTIALS_TOO_LONG = "credentials.too_long" [warn]
        "The credentials document is larger than some SDKs accept. Logged once."
        "If a client cannot read them, make the session's policy or its tags shorter."
    CREDENTIALS_UNAVAILABLE = "credentials.unavailable" [warn error]
        "A renewal has failed, and the session has nothing to hand out."
        "Do what `hint` says. At `warn` the problem may pass by itself; at `error` a person has to act."
    CREDENTIALS_WITHHELD = "credentials.withheld" [info error]
        "The credentials of a session expire so soon that it no longer hands them out."
        "At `error`: do what `hint` says. At `info`: nothing, a renewal is under way."
    DAEMON_CORE_FILES_ALLOWED = "daemon.core_files_allowed" [warn]
        "Core files could not be forbidden. After a crash, a core file may contain secrets."
        "Forbid core files on this host, such as with `LimitCORE=0` in the unit."
    DAEMON_FEW_THREADS = "daemon.few_threads" [warn]
        "The system allows fewer threads than usual. Requests are served more slowly."
        "Do what `hint` says."
    DAEMON_READY = "daemon.ready" [info]
        "Each session has credentials, or a reason why it has none."
        "Nothing; if `live` is less than `sessions`, read the events of the sessions."
    DAEMON_STARTED = "daemon.started" [info]
        "The daemon starts."
        "Nothing."
    DAEMON_STOPPED = "daemon.stopped" [info]
        "The daemon has ended."
        "Nothing."
    DAEMON_STOPPING = "daemon.stopping" [info]
        "The daemon was asked to stop and finishes the current requests."
        "Nothing."
    FILE_FOUGHT_OVER = "file.fought_over" [warn]
        "Another program keeps changing the profile that anchord writes to a credentials file."
        "Let each program write a profile of its own."
    FILE_NOT_WRITTEN = "file.not_written" [warn]
        "A credentials file is not written and stays as it is."
        "Do what `hint` says."
    FILE_PUT_BACK = "file.put_back" [info]
        "Another program had changed the profile in a credentials file. anchord has written it again."
        "Nothing, if it happens once."
    FILE_WARNING = "file.warning" [warn]
        "A credentials file is written, but it has a problem, such as being readable by other users."
        "Do what the text says."
    FILE_WRITTEN = "file.written" [info]
        "A credentials file has new credentials."
        "Nothing."
    HANDOVER_LOST = "handover.lost" [warn]
        "The credentials of the previous run cannot be used. All sessions start without credentials."
        "Nothing after an upgrade; else do what `hint` says."
    HANDOVER_NOT_WRITTEN = "handover.not_written" [warn]
        "Credentials cannot be kept for the next run. A restart would lose them."
        "Do what `hint` says."
    HANDOVER_OFF = "handover.off" [info]
        "Credentials are not kept across restarts."
        "Nothing; `why` says what is missing."
    HANDOVER_OTHER_SETTINGS = "handover.other_settings" [info]
        "The previous run left credentials of a session, but other settings had obtained them. They are not used."
        "Nothing."
    HANDOVER_TAKEN = "handover.taken" [info]
        "A session continues with the credentials of the previous run."
        "Nothing."
    HANDOVER_WRITTEN = "handover.written" [debug]
        "Credentials are kept for the next run."
        "Nothing."
    IMDS_TOKEN_FAILED = "imds.token_failed" [error]
        "No token could be made for a client of IMDS."
        "Find out why the system gives no random bytes."
    LISTENER_ADDRESS_APPEARED = "listener.address_appeared" [info]
        "This host now has an address that the settings name, and the daemon listens on it."
        "Nothing."
    LISTENER_ADDRESS_MISSING = "listener.address_missing" [warn]
        "This host does not have an address that the settings name. The daemon will listen on it as soon as the host has it."
        "Give the host the address, or correct `http.listen`."
    LISTENER_ADDRESS_UNUSABLE = "listener.address_unusable" [warn]
        "This host now has the address, but the daemon cannot listen on it. The daemon tries again."
        "Remove the cause that `error` names, such as another program on the port."
    LISTENER_FAILING = "listener.failing" [warn]
        "No connections can be accepted for now. The listener tries again."
        "Raise the limit that `error` names, such as the number of file descriptors."
    LISTENER_NOT_DRAINED = "listener.not_drained" [warn]
        "When the daemon stopped, some connections did not finish in time and were closed."
        "Nothing, if the clients try again."
    LISTENER_NOT_SERVED = "listener.not_served" [error]
        "This host now has the address, but the daemon cannot serve it."
        "Do what `error` says, and restart the daemon."
    LISTENER_RECOVERED = "listener.recovered" [info]
        "Connections are accepted again."
        "Nothing."
    LISTENER_SOCKET_REPLACED = "listener.socket_replaced" [info]
        "The file of the Unix socket was deleted, and the daemon listens on a new one."
        "If it happens again, find out what deletes it."
    LISTENER_STARTED = "listener.started" [info]
        "The daemon listens on `address` or `path`."
        "Nothing."
    LOG_LOST = "log.lost" [warn]
        "Log lines were dropped, because the reader of stderr did not keep up."
        "Check whether the journal or the program that reads stderr hangs."
    REQUEST_PANICKED = "request.panicked" [error]
        "The answer to a request has panicked. The client got status 500."
        "Report it as a bug, with the event `task.panicked` before it."
    REQUEST_REFUSED = "request.refused" [warn]
        "A client was refused. `suppressed` is the number of further refusals since the line before."
        "Read in `peer` and `why` which client asked, and decide whether it should have access."
    RUNTIME_DIRECTORY_IN_USE = "runtime_directory.in_use" [info]
        "Another daemon uses the runtime directory. This one waits a while for it to stop."
        "Nothing during a restart; otherwise give each daemon its own runtime directory."
    RUNTIME_DIRECTORY_MISSING = "runtime_directory.missing" [warn]
        "There is no runtime directory to write to. Clients of IMDS need new tokens after a restart."
        "Set `runtime_directory` to a directory that the daemon may write to."
    RUNTIME_DIRECTORY_NOT_LOCKED = "runtime_directory.not_locked" [warn]
        "The runtime directory cannot be locked. A second daemon there would not be noticed."
        "Make sure that only one daemon uses it; put it on a local file system."
    RUNTIME_DIRECTORY_NOT_RESTORED = "runtime_directory.not_restored" [warn]
        "The runtime directory or the Unix socket was deleted and cannot be created again."
        "Do what `hint` says."
    RUNTIME_DIRECTORY_RESTORED = "runtime_directory.restored" [warn]
        "The runtime directory was deleted or emptied, and its files were written again."
        "Find out what deletes it."
    SANDBOX_ENTERED = "sandbox.entered" [info]
        "The daemon has given up what its settings do not need. `parts` are in force; `missing` are those that this kernel or container does not have."
        "Nothing. A newer kernel has more parts."
    SANDBOX_INCOMPLETE = "sandbox.incomplete" [warn]
        "A part of the sandbox failed, although the kernel has it. The daemon continues without it."
        "Find out what `error` means on this host; report it if the host is an ordinary one."
    SANDBOX_OFF = "sandbox.off" [warn]
        "The settings switch the sandbox off."
        "Remove `sandbox = false` as soon as it is not needed to find a fault."
    SPIFFE_RECOVERED = "spiffe.recovered" [info]
        "The SPIFFE agent answers again."
        "Nothing."
    SPIFFE_UNREACHABLE = "spiffe.unreachable" [warn]
        "Lost the SPIFFE agent. The daemon keeps retrying until the agent answers."
        "Do what `hint` says; check whether the agent runs."
    TASK_PANICKED = "task.panicked" [error]
        "A part of the program has panicked at `place`. The rest continues."
        "Report it as a bug, with `place`."
    TASK_RESTARTED = "task.restarted" [error]
        "A task of a session or a credentials file ended by a panic and was started again."
        "Report it as a bug, with the event `task.panicked` before it."
    TCP_USERS_UNKNOWN = "tcp_users.unknown" [warn]
        "The kernel does not tell which users TCP clients are. IMDS serves only sessions that are for everybody."
        "Load the kernel module tcp_diag, let the process use AF_NETLINK sockets, or use container credentials or the Unix socket."
    UPDATE_STOPPED = "update.stopped" [info]
        "`anchord update` was asked to stop. The credentials file stays as it is."
        "Nothing."
    UPSTREAM_BUILT_IN_ROOTS = "upstream.built_in_roots" [warn]
        "The system has no trusted roots. The program's own list is used to verify AWS's servers."
        "Install the system's list (`ca-certificates`), or set `ca_file`."
    UPSTREAM_CA_FILE_WARNING = "upstream.ca_file_warning" [warn]
        "A part of the CA file cannot be used. The rest is used."
        "Correct or remove the part that the text names."
    UPSTREAM_FALLBACK = "upstream.fallback" [warn]
        "The first endpoint fails, and the session asks the second one."
        "If this persists, do what `hint` says."
    UPSTREAM_FIRST_AGAIN = "upstream.first_again" [info]
        "The first endpoint works again, and the session uses it again."
        "Nothing."
    USER_DATABASE_SILENT = "user_database.silent" [warn]
        "The host's user database does not answer. Callers who are admitted by the name of a user or a group may be refused."
        "Check the services that nsswitch.conf names for `passwd` and `group`."
    WATCH_QUEUE_FAILED = "watch.queue_failed" [warn]
        "The system's queue of file events has failed."
        "Nothing, unless an event `watch.unavailable` follows; then do what `hint` says."
    WATCH_UNAVAILABLE = "watch.unavailable" [warn]
        "The daemon gets no file events. It checks files every `every_seconds` instead."
        "Do what `hint` says."
}
