//! The commands that signing needs (TPM 2.0 Library, Part 3).

use std::time::Duration;

use tokio::time::Instant;

use super::Device;
use super::Error;
use super::address::PERSISTENT;
use super::code::Code;
use super::code::TPM_1_2_TAG;
use super::operation::GRACE;
use super::operation::Limit;
use super::public::Public;
use super::public::pad;
use super::public::sha256;
use super::transport::TpmTransport;
use super::transport::pause;
use super::tss2;
use super::wire::Marshaller;
use super::wire::NO_SESSIONS;
use super::wire::Response;
use super::wire::SESSIONS;
use crate::Algorithm;
use crate::asn1::two_numbers;
use anchord_core::failure::system_reason;

/// `TPM_RH_NULL`
const NULL_HIERARCHY: u32 = 0x4000_0007;

/// `TPM_ST_HASHCHECK`
const HASH_CHECK: u16 = 0x8024;

/// `TPM_CAP_TPM_PROPERTIES`, and of these `TPM_PT_LOCKOUT_COUNTER`.
const PROPERTIES: u32 = 6;
const LOCKOUT_COUNTER: u32 = 0x20e;

/// The time that a refusal may take. With less time left, a wrong value could be counted without anchord knowing.
const FOR_AN_ANSWER: Duration = Duration::from_secs(2);

/// How often a command is sent if the TPM asks to retry.
const ATTEMPTS: u32 = 8;

/// The first pause between retries; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A command, by its name and `TPM_CC`.
#[derive(Clone, Copy)]
struct Command(&'static str, u32);

const CREATE_PRIMARY: Command = Command("TPM2_CreatePrimary", 0x131);
const LOAD: Command = Command("TPM2_Load", 0x157);
const SIGN: Command = Command("TPM2_Sign", 0x15d);
const FLUSH_CONTEXT: Command = Command("TPM2_FlushContext", 0x165);
const READ_PUBLIC: Command = Command("TPM2_ReadPublic", 0x173);
const GET_CAPABILITY: Command = Command("TPM2_GetCapability", 0x17a);

/// The kind of storage root key of a hierarchy.
///
/// Both are the templates H-1 and H-2 of the TCG EK Credential Profile with the attributes of a storage key. They are
/// derived from the hierarchy's seed, so they are the same each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// P-256, the default of key files.
    Ecc,
    /// RSA with 2048 bits, used by older tools; slow to create.
    Rsa,
}

impl Root {
    /// The `TPMT_PUBLIC`: name hash SHA-256; fixed to this TPM and parent, made by it, used with an authorization
    /// value that does not count towards the lockout, restricted to decryption; no policy; AES-128 in CFB mode.
    fn template(self) -> Marshaller {
        let kind = if self == Self::Ecc { 0x0023 } else { 0x0001 };
        let common = Marshaller::new().u16(kind).u16(sha256()).u32(0x0003_0472).u16(0);
        let common = common.u16(0x0006).u16(128).u16(0x0043).u16(0x0010);
        match self {
            // P-256, no key derivation, an empty point.
            Self::Ecc => common.u16(0x0003).u16(0x0010).u16(0).u16(0),
            // 2048 bits, the default exponent, an empty modulus.
            Self::Rsa => common.u16(2048).u32(0).u16(0),
        }
    }
}

/// One connection to a TPM. Dropping it flushes every object that it loaded.
pub(super) struct TpmClient {
    device: Device,
    transport: Box<dyn TpmTransport>,
    limit: Limit,
    loaded: Vec<u32>,
    is_broken: bool,
    counted: Option<u32>,
}

impl TpmClient {
    /// Connects, and checks that a TPM 2.0 answers.
    ///
    /// The first command is harmless on purpose. An emulator serves one connection at a time, and later reads what was
    /// sent on the others, even if the sender has gone. A load command would then leave its object loaded.
    pub(super) fn connect(device: &Device, limit: Limit) -> Result<Self, Error> {
        let mut client = Self::over(device, device.connect(limit)?, limit);
        client.greet()?;
        Ok(client)
    }

    pub(super) fn over(device: &Device, transport: Box<dyn TpmTransport>, limit: Limit) -> Self {
        Self { device: device.clone(), transport, limit, loaded: Vec::new(), is_broken: false, counted: None }
    }

    /// Reads the TPM's counter of wrong authorization values.
    pub(super) fn greet(&mut self) -> Result<(), Error> {
        let body = Marshaller::new().u32(PROPERTIES).u32(LOCKOUT_COUNTER).u32(1);
        let counted = self.ask(GET_CAPABILITY, NO_SESSIONS, body, |response| Some(counted(response)))?;
        self.counted = counted.map_err(|code| self.refused(GET_CAPABILITY, code))?;
        Ok(())
    }

    /// The counter of wrong authorization values that [`Self::greet`] read, if the TPM reported it.
    pub(super) fn counted(&self) -> Option<u32> {
        self.counted
    }

    /// Whether the last command may have been executed, although its answer was lost.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(super) fn device(&self) -> Device {
        self.device.clone()
    }

    /// The `TPMT_PUBLIC` of the key at a persistent handle.
    pub(super) fn read_public(&mut self, handle: u32) -> Result<Vec<u8>, Error> {
        let area = self.ask(READ_PUBLIC, NO_SESSIONS, Marshaller::new().u32(handle), |response| {
            response.rest.sized().map(<[u8]>::to_vec)
        })?;
        area.map_err(|code| match code {
            code if code.is_no_such_handle() => Error::NoSuchHandle { device: self.device.clone(), handle },
            code => self.refused(READ_PUBLIC, code),
        })
    }

    /// Parses the answer of `read_public`.
    pub(super) fn public(&self, area: &[u8]) -> Result<Public, Error> {
        Public::parse(area)?.ok_or_else(|| self.garbled(READ_PUBLIC))
    }

    /// Loads a key file under the parent it names. If that is a hierarchy, uses the first of `roots` that works.
    /// Returns the key's handle and this root.
    pub(super) fn load(
        &mut self,
        file: &tss2::TpmKeyFile,
        roots: &[Root],
    ) -> Result<(u32, Option<Root>), Error> {
        let parent = file.parent();
        if parent >> 24 == PERSISTENT {
            let handle = self.load_under(parent, file)?;
            return handle.map(|handle| (handle, None)).ok_or_else(|| self.not_loadable(parent));
        }
        for root in roots {
            let primary = self.create_primary(parent, *root)?;
            let handle = self.load_under(primary, file);
            self.flush(primary);
            if let Some(handle) = handle? {
                return Ok((handle, Some(*root)));
            }
        }
        Err(self.not_loadable(parent))
    }

    /// Returns `None` if the key was not made under this parent.
    fn load_under(&mut self, parent: u32, file: &tss2::TpmKeyFile) -> Result<Option<u32>, Error> {
        let body = Marshaller::new().u32(parent).password(&[]).bytes(file.private()).bytes(file.public());
        match self.load_object(LOAD, body)? {
            Ok(handle) => Ok(Some(handle)),
            Err(code) if code.is_of_other_parent() => Ok(None),
            Err(code) if code.is_no_such_handle() => {
                Err(Error::NoSuchHandle { device: self.device.clone(), handle: parent })
            }
            Err(code) => Err(self.parent_refused(LOAD, file.parent(), code)),
        }
    }

    fn create_primary(&mut self, hierarchy: u32, root: Root) -> Result<u32, Error> {
        // No authorization value of its own and no data; the template; no outside info; no PCRs.
        let body = Marshaller::new().u32(hierarchy).password(&[]).u16(4).u16(0).u16(0);
        let body = body.sized(root.template().as_slice()).u16(0).u32(0);
        self.load_object(CREATE_PRIMARY, body)?
            .map_err(|code| self.parent_refused(CREATE_PRIMARY, hierarchy, code))
    }

    fn load_object(&mut self, command: Command, body: Marshaller) -> Result<Result<u32, Code>, Error> {
        let handle = self.ask(command, SESSIONS, body, |response| response.rest.u32())?;
        // Only handles of transient objects: a wrong response must not make us flush anything else.
        match handle {
            Ok(handle) if handle >> 24 == 0x80 => self.loaded.push(handle),
            Ok(_) => return Err(self.garbled(command)),
            Err(_) => {}
        }
        Ok(handle)
    }

    /// Signs a SHA-256 digest, in the form Roles Anywhere expects.
    pub(super) fn sign(
        &mut self,
        handle: u32,
        auth: &[u8],
        public: &Public,
        digest: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let body = Marshaller::new().u32(handle).password(auth).sized(digest);
        let body = body.u16(public.scheme()).u16(sha256());
        // The ticket of a digest that the TPM did not make.
        let body = body.u16(HASH_CHECK).u32(NULL_HIERARCHY).u16(0);
        let signature = self.ask(SIGN, SESSIONS, body, |response| {
            response.rest.u32()?;
            signature(response, public)
        })?;
        signature.map_err(|code| {
            let counted = code.is_counted_refusal();
            if counted || code.is_uncounted_refusal() {
                return Error::WrongAuth { device: self.device.clone(), counted };
            }
            self.refused(SIGN, code)
        })
    }

    /// Ignores errors: the handle or the connection is gone. An operation without time left gets [`GRACE`] more,
    /// because otherwise the slot would be lost until the TPM is reset.
    fn flush(&mut self, handle: u32) {
        self.loaded.retain(|loaded| *loaded != handle);
        if !self.is_broken {
            self.limit.deadline = self.limit.deadline.max(Instant::now() + GRACE);
            let _ = self.ask(FLUSH_CONTEXT, NO_SESSIONS, Marshaller::new().u32(handle), |_| Some(()));
        }
    }

    /// Sends a command, retries it if the TPM asks for that, and reads the response.
    fn ask<T>(
        &mut self,
        command: Command,
        tag: u16,
        body: Marshaller,
        read: impl Fn(&mut Response<'_>) -> Option<T>,
    ) -> Result<Result<T, Code>, Error> {
        let bytes = body.command(tag, command.1).ok_or_else(|| self.garbled(command))?;
        let mut next_pause = FIRST_PAUSE;
        for attempt in 1.. {
            let answer = self.exchange(bytes.as_slice())?;
            let mut response = Response::parse(&answer).ok_or_else(|| self.unintelligible(command))?;
            match Code(response.code) {
                _ if response.tag == TPM_1_2_TAG => {
                    return Err(Error::TooOld { device: self.device.clone() });
                }
                Code(0) if response.tag == tag => {
                    return read(&mut response).map(Ok).ok_or_else(|| self.unintelligible(command));
                }
                Code(0) => return Err(self.unintelligible(command)),
                code if code.is_passing() && attempt < ATTEMPTS && self.may_pause(command, next_pause) => {
                    pause(next_pause.min(self.limit.remaining()));
                    next_pause *= 2;
                }
                code => return Ok(Err(code)),
            }
        }
        Err(self.garbled(command))
    }

    /// Fails if too little time is left to receive a refusal.
    pub(super) fn check_time_for_an_answer(&self) -> Result<(), Error> {
        if self.limit.remaining() < FOR_AN_ANSWER { Err(self.limit.passed(&self.device)) } else { Ok(()) }
    }

    fn may_pause(&self, command: Command, pause: Duration) -> bool {
        command.1 != SIGN.1 || self.limit.remaining() >= pause + FOR_AN_ANSWER
    }

    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, Error> {
        self.transport.exchange(command, self.limit.deadline).map_err(|source| {
            self.is_broken = true;
            match source.kind() {
                std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
                    self.limit.passed(&self.device)
                }
                _ => Error::BrokeOff { device: self.device.clone(), source: system_reason(&source) },
            }
        })
    }

    /// The error for a response that breaks the protocol. No further command is sent.
    fn unintelligible(&mut self, command: Command) -> Error {
        self.is_broken = true;
        self.garbled(command)
    }

    fn garbled(&self, command: Command) -> Error {
        Error::Garbled { device: self.device.clone(), command: command.0 }
    }

    fn not_loadable(&self, parent: u32) -> Error {
        Error::NotLoadable { device: self.device.clone(), parent }
    }

    fn parent_refused(&self, command: Command, parent: u32, code: Code) -> Error {
        let counted = code.is_counted_refusal();
        if counted || code.is_uncounted_refusal() {
            return Error::ParentLocked { parent, counted };
        }
        self.refused(command, code)
    }

    fn refused(&self, command: Command, code: Code) -> Error {
        let device = self.device.clone();
        match code {
            code if code.is_lockout() => Error::Lockout { device },
            code if code.is_no_memory() => Error::Full { device },
            code if code.is_not_started() => Error::NotStarted { device },
            code => Error::Refused { device, command: command.0, code: code.0 },
        }
    }
}

impl Drop for TpmClient {
    fn drop(&mut self) {
        while let Some(handle) = self.loaded.last().copied() {
            self.flush(handle);
        }
    }
}

/// Reads the one property that was asked for, after the "more data" flag, the capability, the count and the property's
/// tag.
fn counted(response: &mut Response<'_>) -> Option<u32> {
    let rest = &mut response.rest;
    rest.bytes(1)?;
    let is_meant = (rest.u32()?, rest.u32()?, rest.u32()?) == (PROPERTIES, 1, LOCKOUT_COUNTER);
    rest.u32().filter(|_| is_meant)
}

/// Reads a `TPMT_SIGNATURE` of the requested scheme.
fn signature(response: &mut Response<'_>, public: &Public) -> Option<Vec<u8>> {
    let rest = &mut response.rest;
    if (rest.u16()?, rest.u16()?) != (public.scheme(), sha256()) {
        return None;
    }
    match public.algorithm {
        Algorithm::RsaSha256 => pad(rest.sized()?, public.width),
        _ => {
            let (r, s) = (pad(rest.sized()?, public.width)?, pad(rest.sized()?, public.width)?);
            Some(two_numbers(&r, &s))
        }
    }
}
