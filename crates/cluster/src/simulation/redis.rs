//! Redis as a state machine: the commands that a node sends, and its Lua scripts, which run unchanged.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use indexmap::IndexMap;
use mlua::{Function, Lua, MultiValue, Table, Value as LuaValue};
use redis::{Script, Value as Reply};

use crate::scripts;

/// Bytes of a key, a field or a value.
type Bytes = Vec<u8>;

/// ID of a stream entry: milliseconds and sequence number.
type StreamId = (u64, u64);

/// Text of an error reply of Redis.
pub(super) type Refused = String;

/// A value of one key.
#[derive(Clone, Debug)]
enum Stored {
    Text(Bytes),
    Hash(IndexMap<Bytes, Bytes>),
    Set(BTreeSet<Bytes>),
    Stream(Stream),
}

#[derive(Clone, Debug, Default)]
struct Stream {
    entries: BTreeMap<StreamId, Vec<Bytes>>,
    last: StreamId,
}

/// All keys at one moment. Values are shared between copies until they change.
#[derive(Clone, Default)]
pub(super) struct Keyspace(BTreeMap<Bytes, (Arc<Stored>, Option<u64>)>);

/// Reason why writes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Used memory is above `maxmemory`.
    Full,
    /// The server is a replica.
    ReadOnly,
}

/// Redis server. Time is an argument: milliseconds since 1970.
pub(super) struct Server {
    keys: Keyspace,
    lua: Lua,
    scripts: HashMap<Bytes, Function>,
    pub(super) refuses: Option<Refusal>,
}

impl Server {
    pub(super) fn new() -> Self {
        let lua = Lua::new();
        let compiled = scripts::ALL.iter().filter_map(|code| {
            let hash = Script::new(code).get_hash().as_bytes().to_vec();
            Some((hash, lua.load(*code).into_function().ok()?))
        });
        let scripts = compiled.collect();
        Self { keys: Keyspace::default(), lua, scripts, refuses: None }
    }

    /// Returns a copy of all keys.
    pub(super) fn copy(&self) -> Keyspace {
        self.keys.clone()
    }

    /// Replaces all keys, as a restart from an older file or a failover to a lagging replica does.
    pub(super) fn restore(&mut self, keys: Keyspace) {
        self.keys = keys;
    }

    /// Executes one command at `now` microseconds since 1970.
    ///
    /// # Errors
    /// Error reply of Redis, code first.
    pub(super) fn execute(&mut self, now: u64, command: &[Bytes]) -> Result<Reply, Refused> {
        match command.first().map(|name| name.to_ascii_uppercase()).as_deref() {
            Some(b"EVALSHA") => self.run_script(now, &command[1..]),
            _ => self.keys.execute(now, self.refuses, command),
        }
    }

    fn run_script(&mut self, now: u64, arguments: &[Bytes]) -> Result<Reply, Refused> {
        let script = self.scripts.get(&arguments[0]).ok_or("NOSCRIPT No matching script")?;
        let count: usize = number(&arguments[1])?;
        let (keys, arguments) = arguments[2..].split_at(count);
        let refuses = self.refuses;
        let database = RefCell::new(&mut self.keys);
        let lua = &self.lua;
        let result = lua.scope(|scope| {
            let redis = lua.create_table()?;
            let call = scope.create_function(|lua, arguments: MultiValue| {
                call_from_lua(lua, &mut database.borrow_mut(), now, refuses, arguments)?.map_err(mlua::Error::runtime)
            })?;
            let protected_call = scope.create_function(|lua, arguments: MultiValue| {
                match call_from_lua(lua, &mut database.borrow_mut(), now, refuses, arguments)? {
                    Ok(value) => Ok(value),
                    Err(refused) => {
                        let table = lua.create_table()?;
                        table.set("err", refused)?;
                        Ok(LuaValue::Table(table))
                    }
                }
            })?;
            redis.set("call", call)?;
            redis.set("pcall", protected_call)?;
            let globals = lua.globals();
            globals.set("redis", redis)?;
            globals.set("KEYS", list_for_lua(lua, keys)?)?;
            globals.set("ARGV", list_for_lua(lua, arguments)?)?;
            script.call::<LuaValue>(())
        });
        match result {
            Ok(value) => from_lua(value),
            Err(error) => {
                let text = error.to_string();
                let code = ["OOM", "READONLY"].into_iter().find(|code| text.contains(code));
                Err(format!("{} {text}", code.unwrap_or("ERR")))
            }
        }
    }

    /// Returns whether a blocking read of `command` would return entries.
    pub(super) fn has_entries(&self, command: &[Bytes]) -> bool {
        matches!(self.keys.stream_read(command), Ok(reply) if reply != Reply::Nil)
    }
}

fn list_for_lua(lua: &Lua, items: &[Bytes]) -> mlua::Result<Table> {
    lua.create_sequence_from(items.iter().map(|item| lua.create_string(item)).collect::<mlua::Result<Vec<_>>>()?)
}

fn call_from_lua(
    lua: &Lua,
    keys: &mut Keyspace,
    now: u64,
    refuses: Option<Refusal>,
    arguments: MultiValue,
) -> mlua::Result<Result<LuaValue, Refused>> {
    let mut command = Vec::with_capacity(arguments.len());
    for argument in arguments {
        command.push(match argument {
            LuaValue::String(text) => text.as_bytes().to_vec(),
            LuaValue::Integer(number) => number.to_string().into_bytes(),
            LuaValue::Number(number) => format!("{number}").into_bytes(),
            other => return Err(mlua::Error::runtime(format!("an argument is {}", other.type_name()))),
        });
    }
    Ok(match keys.execute(now, refuses, &command) {
        Ok(reply) => Ok(to_lua(lua, reply)?),
        Err(refused) => Err(refused),
    })
}

fn to_lua(lua: &Lua, reply: Reply) -> mlua::Result<LuaValue> {
    Ok(match reply {
        Reply::Nil => LuaValue::Boolean(false),
        Reply::Int(number) => LuaValue::Number(number as f64),
        Reply::BulkString(text) => LuaValue::String(lua.create_string(text)?),
        Reply::Array(items) => {
            let items = items.into_iter().map(|item| to_lua(lua, item)).collect::<mlua::Result<Vec<_>>>()?;
            LuaValue::Table(lua.create_sequence_from(items)?)
        }
        _ => {
            let table = lua.create_table()?;
            table.set("ok", "OK")?;
            LuaValue::Table(table)
        }
    })
}

fn from_lua(value: LuaValue) -> Result<Reply, Refused> {
    Ok(match value {
        LuaValue::String(text) => Reply::BulkString(text.as_bytes().to_vec()),
        LuaValue::Integer(number) => Reply::Int(number),
        LuaValue::Number(number) => Reply::Int(number as i64),
        LuaValue::Boolean(true) => Reply::Int(1),
        LuaValue::Table(table) => {
            let mut items = Vec::new();
            for item in table.sequence_values::<LuaValue>() {
                items.push(from_lua(item.map_err(|error| format!("ERR {error}"))?)?);
            }
            Reply::Array(items)
        }
        _ => Reply::Nil,
    })
}

/// Returns whether a command changes nothing.
const READS: [&str; 17] = [
    "GET",
    "HGET",
    "HMGET",
    "HGETALL",
    "HKEYS",
    "HVALS",
    "HLEN",
    "EXISTS",
    "XRANGE",
    "XREVRANGE",
    "XREAD",
    "XLEN",
    "SCARD",
    "SMEMBERS",
    "TIME",
    "PING",
    "CONFIG",
];

impl Keyspace {
    fn execute(&mut self, now: u64, refuses: Option<Refusal>, command: &[Bytes]) -> Result<Reply, Refused> {
        let name = command.first().ok_or("ERR no command")?.to_ascii_uppercase();
        let name = str::from_utf8(&name).map_err(|_| "ERR unknown command")?;
        if !READS.contains(&name) {
            match refuses {
                Some(Refusal::Full) => return Err("OOM command not allowed when used memory > 'maxmemory'.".into()),
                Some(Refusal::ReadOnly) => return Err("READONLY You can't write against a read only replica.".into()),
                None => {}
            }
        }
        let ms = now / 1_000;
        self.0.retain(|_, (_, expires)| expires.is_none_or(|at| at > ms));
        let arguments = &command[1..];
        match name {
            "GET" | "GETDEL" => {
                let text = match self.get(&arguments[0]) {
                    Some(Stored::Text(text)) => Reply::BulkString(text.clone()),
                    _ => Reply::Nil,
                };
                if name == "GETDEL" {
                    self.0.remove(&arguments[0]);
                }
                Ok(text)
            }
            "SET" => self.set(ms, arguments),
            "DEL" | "UNLINK" => {
                Ok(Reply::Int(arguments.iter().filter(|key| self.0.remove(*key).is_some()).count() as i64))
            }
            "EXISTS" => Ok(Reply::Int(arguments.iter().filter(|key| self.0.contains_key(*key)).count() as i64)),
            "PEXPIRE" => {
                let at = ms + number::<u64>(&arguments[1])?;
                let key = self.0.get_mut(&arguments[0]);
                Ok(Reply::Int(key.map_or(0, |(_, expires)| {
                    *expires = Some(at);
                    1
                })))
            }
            "TIME" => Ok(Reply::Array(vec![text(now / 1_000_000), text(now % 1_000_000)])),
            "SADD" | "SREM" | "SCARD" | "SMEMBERS" | "SPOP" => self.set_command(name, arguments),
            "XADD" | "XLEN" | "XTRIM" | "XRANGE" | "XREVRANGE" | "XREAD" => self.stream_command(ms, name, command),
            _ if name.starts_with('H') => self.hash_command(name, arguments),
            _ => Err(format!("ERR unknown command '{name}'")),
        }
    }

    fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.0.get(key).map(|(value, _)| &**value)
    }

    fn entry(&mut self, key: &[u8], new: fn() -> Stored) -> &mut Stored {
        let (value, _) = self.0.entry(key.to_vec()).or_insert_with(|| (Arc::new(new()), None));
        Arc::make_mut(value)
    }

    fn set(&mut self, ms: u64, arguments: &[Bytes]) -> Result<Reply, Refused> {
        let [key, value, options @ ..] = arguments else { return Err("ERR wrong number of arguments".into()) };
        let expires = match options {
            [unit, time] if unit == b"PX" => Some(ms + number::<u64>(time)?),
            [unit, time] if unit == b"EX" => Some(ms + number::<u64>(time)? * 1_000),
            [] => None,
            _ => return Err("ERR syntax error".into()),
        };
        self.0.insert(key.clone(), (Arc::new(Stored::Text(value.clone())), expires));
        Ok(Reply::Okay)
    }

    fn hash_command(&mut self, name: &str, arguments: &[Bytes]) -> Result<Reply, Refused> {
        let (key, arguments) = arguments.split_first().ok_or("ERR wrong number of arguments")?;
        let empty = IndexMap::new();
        let hash = match self.get(key) {
            Some(Stored::Hash(hash)) => hash,
            None => &empty,
            Some(_) => return Err("WRONGTYPE".into()),
        };
        let field = |field: &Bytes| hash.get(field).map_or(Reply::Nil, |value| Reply::BulkString(value.clone()));
        Ok(match name {
            "HGET" => field(&arguments[0]),
            "HMGET" => Reply::Array(arguments.iter().map(field).collect()),
            "HGETALL" => {
                Reply::Array(hash.iter().flat_map(|(k, v)| [k, v]).map(|b| Reply::BulkString(b.clone())).collect())
            }
            "HKEYS" => Reply::Array(hash.keys().map(|key| Reply::BulkString(key.clone())).collect()),
            "HVALS" => Reply::Array(hash.values().map(|value| Reply::BulkString(value.clone())).collect()),
            "HLEN" => Reply::Int(hash.len() as i64),
            "HSET" | "HDEL" | "HINCRBY" => return self.change_hash(name, key, arguments),
            _ => return Err(format!("ERR unknown command '{name}'")),
        })
    }

    fn change_hash(&mut self, name: &str, key: &[u8], arguments: &[Bytes]) -> Result<Reply, Refused> {
        let Stored::Hash(hash) = self.entry(key, || Stored::Hash(IndexMap::new())) else {
            return Err("WRONGTYPE".into());
        };
        let result = match name {
            "HSET" => {
                for pair in arguments.chunks_exact(2) {
                    hash.insert(pair[0].clone(), pair[1].clone());
                }
                arguments.len() as i64 / 2
            }
            "HDEL" => arguments.iter().filter(|field| hash.shift_remove(*field).is_some()).count() as i64,
            _ => {
                let sum: i64 = hash.get(&arguments[0]).map_or(Ok(0), |value| number::<i64>(value))?
                    + number::<i64>(&arguments[1])?;
                hash.insert(arguments[0].clone(), sum.to_string().into_bytes());
                sum
            }
        };
        if hash.is_empty() {
            self.0.remove(key);
        }
        Ok(Reply::Int(result))
    }

    fn set_command(&mut self, name: &str, arguments: &[Bytes]) -> Result<Reply, Refused> {
        let (key, arguments) = arguments.split_first().ok_or("ERR wrong number of arguments")?;
        let Stored::Set(set) = self.entry(key, || Stored::Set(BTreeSet::new())) else {
            return Err("WRONGTYPE".into());
        };
        let reply = match name {
            "SADD" => Reply::Int(arguments.iter().filter(|member| set.insert((*member).clone())).count() as i64),
            "SREM" => Reply::Int(arguments.iter().filter(|member| set.remove(*member)).count() as i64),
            "SCARD" => Reply::Int(set.len() as i64),
            "SMEMBERS" => Reply::Array(set.iter().map(|member| Reply::BulkString(member.clone())).collect()),
            _ => {
                let count = number::<usize>(&arguments[0])?;
                let members: Vec<_> = std::iter::from_fn(|| set.pop_first()).take(count).collect();
                Reply::Array(members.into_iter().map(Reply::BulkString).collect())
            }
        };
        if set.is_empty() {
            self.0.remove(key);
        }
        Ok(reply)
    }

    fn stream_command(&mut self, ms: u64, name: &str, command: &[Bytes]) -> Result<Reply, Refused> {
        let key = &command[1];
        match name {
            "XREAD" => self.stream_read(command),
            "XLEN" => Ok(Reply::Int(self.stream(key).map_or(0, |stream| stream.entries.len() as i64))),
            // Only the newest entry is ever queried.
            "XREVRANGE" => {
                let newest = self.stream(key).and_then(|stream| stream.entries.last_key_value());
                Ok(Reply::Array(newest.into_iter().map(entry_reply).collect()))
            }
            "XRANGE" => {
                let (from, to) = (bound(&command[2], 0)?, bound(&command[3], u64::MAX)?);
                let count: usize = number(&command[5])?;
                let Some(stream) = self.stream(key) else { return Ok(Reply::Array(Vec::new())) };
                let entries = stream.entries.range(from.0..=to.0).filter(|(id, _)| !(from.1 && **id == from.0));
                let entries = entries.filter(|(id, _)| !(to.1 && **id == to.0));
                Ok(Reply::Array(entries.take(count).map(entry_reply).collect()))
            }
            _ => {
                let Stored::Stream(stream) = self.entry(key, || Stored::Stream(Stream::default())) else {
                    return Err("WRONGTYPE".into());
                };
                let mut rest = &command[2..];
                // `~` allows Redis to keep more entries; here it is exact.
                if let [option, approximate, minimum, after @ ..] = rest
                    && option == b"MINID"
                    && approximate == b"~"
                {
                    stream.trim(stream_id(minimum)?);
                    rest = after;
                } else if let [option, minimum, after @ ..] = rest
                    && option == b"MINID"
                {
                    stream.trim(stream_id(minimum)?);
                    rest = after;
                }
                if name == "XTRIM" {
                    return Ok(Reply::Int(0));
                }
                let id = match &rest[0][..] {
                    b"*" if ms > stream.last.0 => (ms, 0),
                    b"*" => (stream.last.0, stream.last.1 + 1),
                    id => stream_id(id)?,
                };
                if id <= stream.last {
                    return Err(
                        "ERR The ID specified in XADD is equal or smaller than the target stream top item".into()
                    );
                }
                stream.last = id;
                stream.entries.insert(id, rest[1..].to_vec());
                Ok(Reply::BulkString(id_text(id)))
            }
        }
    }

    fn stream(&self, key: &[u8]) -> Option<&Stream> {
        match self.get(key)? {
            Stored::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// Executes `XREAD COUNT n BLOCK ms STREAMS key after` without waiting.
    fn stream_read(&self, command: &[Bytes]) -> Result<Reply, Refused> {
        let [_, _, count, _, _, _, key, after] = command else { return Err("ERR syntax error".into()) };
        let (count, after) = (number::<usize>(count)?, stream_id(after)?);
        let entries = self.stream(key).map(|stream| {
            stream
                .entries
                .range(after..)
                .filter(|(id, _)| **id > after)
                .take(count)
                .map(entry_reply)
                .collect::<Vec<_>>()
        });
        Ok(match entries.filter(|entries| !entries.is_empty()) {
            None => Reply::Nil,
            Some(entries) => {
                Reply::Array(vec![Reply::Array(vec![Reply::BulkString(key.clone()), Reply::Array(entries)])])
            }
        })
    }
}

impl Stream {
    fn trim(&mut self, minimum: StreamId) {
        self.entries = self.entries.split_off(&minimum);
    }
}

fn entry_reply((id, fields): (&StreamId, &Vec<Bytes>)) -> Reply {
    let fields = fields.iter().map(|field| Reply::BulkString(field.clone())).collect();
    Reply::Array(vec![Reply::BulkString(id_text(*id)), Reply::Array(fields)])
}

fn id_text((ms, seq): StreamId) -> Bytes {
    format!("{ms}-{seq}").into_bytes()
}

fn stream_id(text: &[u8]) -> Result<StreamId, Refused> {
    let text = str::from_utf8(text).map_err(|_| "ERR Invalid stream ID")?;
    let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
    Ok((ms.parse().map_err(|_| "ERR Invalid stream ID")?, seq.parse().map_err(|_| "ERR Invalid stream ID")?))
}

/// Parses a bound of a range. Returns whether it is exclusive, too.
fn bound(text: &[u8], seq: u64) -> Result<(StreamId, bool), Refused> {
    let (text, exclusive) = text.strip_prefix(b"(").map_or((text, false), |text| (text, true));
    let id = stream_id(text)?;
    Ok((if text.contains(&b'-') { id } else { (id.0, seq) }, exclusive))
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T, Refused> {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("ERR value is not an integer: {}", String::from_utf8_lossy(text)))
}

fn text(number: u64) -> Reply {
    Reply::BulkString(number.to_string().into_bytes())
}
