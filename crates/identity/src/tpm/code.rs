//! Response codes (TPM 2.0 Library, Part 2, "TPM_RC").

/// A response code other than success.
///
/// With bit 7 set it has format one: an error of a handle, session or parameter, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) u32);

const FORMAT_ONE: u32 = 0x080;

const AUTH_FAIL: u32 = 0x08e;
const BAD_AUTH: u32 = 0x0a2;
const HANDLE: u32 = 0x08b;
const INTEGRITY: u32 = 0x09f;

const INITIALIZE: u32 = 0x100;
const OBJECT_MEMORY: u32 = 0x902;
const OBJECT_HANDLES: u32 = 0x906;
const YIELDED: u32 = 0x908;
const TESTING: u32 = 0x90a;
const NV_RATE: u32 = 0x920;
const LOCKOUT: u32 = 0x921;
const RETRY: u32 = 0x922;

/// The tag of a TPM 1.2's response to a TPM 2.0 command (`TPM_BADTAG`).
pub(super) const TPM_1_2_TAG: u16 = 0x00c4;

impl Code {
    /// Without the number of the handle, session or parameter.
    fn kind(self) -> u32 {
        match self.0 & FORMAT_ONE {
            0 => self.0,
            _ if self.0 > 0xfff => self.0,
            _ => self.0 & 0x0bf,
        }
    }

    /// The authorization value was wrong, and the attempt counts towards the lockout.
    pub(super) fn is_counted_refusal(self) -> bool {
        self.kind() == AUTH_FAIL
    }

    /// The authorization value was wrong, and the attempt does not count.
    pub(super) fn is_uncounted_refusal(self) -> bool {
        self.kind() == BAD_AUTH
    }

    pub(super) fn is_no_such_handle(self) -> bool {
        self.kind() == HANDLE
    }

    /// The object to load was not made under this parent.
    pub(super) fn is_of_other_parent(self) -> bool {
        self.kind() == INTEGRITY
    }

    pub(super) fn is_lockout(self) -> bool {
        self.0 == LOCKOUT
    }

    pub(super) fn is_no_memory(self) -> bool {
        matches!(self.0, OBJECT_MEMORY | OBJECT_HANDLES)
    }

    pub(super) fn is_not_started(self) -> bool {
        self.0 == INITIALIZE
    }

    /// A retry of the same command may succeed soon.
    pub(super) fn is_passing(self) -> bool {
        matches!(self.0, RETRY | YIELDED | TESTING | NV_RATE)
    }

    /// Warnings are about the TPM's state, not about the command.
    pub(super) fn is_warning(self) -> bool {
        self.0 & 0xffff_ff80 == 0x900
    }

    /// A text for the codes that occur in practice.
    pub(super) fn words(self) -> Option<&'static str> {
        Some(match self.kind() {
            0x081 => "it does not support the algorithm",
            0x082 => "the key's attributes do not allow it",
            0x083 => "it does not support the hash",
            0x084 => "a value is out of range",
            0x085 => "the hierarchy is disabled or not known",
            0x087 => "it does not support the key's size",
            0x08a => "the type of key is wrong for it",
            HANDLE => "there is nothing at the handle",
            AUTH_FAIL | BAD_AUTH => "the authorization value is wrong",
            0x092 => "the signing scheme does not fit the key",
            0x095 => "a size is wrong",
            0x096 => "it does not support the parent's symmetric algorithm",
            0x09a => "the command is too short",
            0x09c => "the key cannot be used for it",
            0x09d => "a policy was not met",
            INTEGRITY => "the key was not made under this parent",
            0x0a5 => "the private part does not belong to the public part",
            0x0a6 => "it does not support the curve",
            INITIALIZE => "it has not been started with TPM2_Startup",
            0x101 => "it has failed its self-test and is in failure mode",
            0x12d => "it is in field upgrade mode",
            0x12f => "the key can be used with a policy only",
            0x143 => "it does not know the command",
            0x901 => "its contexts are too far apart",
            OBJECT_MEMORY | OBJECT_HANDLES => "no slot is free for another key",
            0x903 | 0x905 => "no slot is free for another session",
            0x904 => "it is out of memory",
            0x907 => "the command may not come from this locality",
            YIELDED | RETRY => "it asks for a retry",
            0x909 => "the command was cancelled",
            TESTING => "it is testing itself",
            NV_RATE => "it slows down writing to protect its memory",
            LOCKOUT => "it is in lockout after too many wrong authorization values",
            0x923 => "its memory cannot be written now",
            _ => return None,
        })
    }
}
