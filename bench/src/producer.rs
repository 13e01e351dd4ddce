//! librdkafka's producer, called as its own performance tool calls it. The only place with `unsafe`.

use rdkafka_sys as rd;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;

/// A producer of one topic.
pub struct Producer {
    client: *mut rd::rd_kafka_t,
    topic: *mut rd::rd_kafka_topic_t,
    events: *mut rd::rd_kafka_queue_t,
}

/// A record that librdkafka has not taken yet. Its bytes live as long as the process: librdkafka copies nothing.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Message(rd::rd_kafka_message_t);

impl Default for Message {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl Message {
    pub fn of(value: &'static [u8]) -> Self {
        Self(rd::rd_kafka_message_t {
            err: rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
            rkt: null_mut(),
            partition: 0,
            payload: value.as_ptr().cast_mut().cast::<c_void>(),
            len: value.len(),
            key: null_mut(),
            key_len: 0,
            offset: 0,
            _private: null_mut(),
        })
    }
}

impl Producer {
    pub fn new(settings: &BTreeMap<String, String>, topic: &str) -> Result<Self, String> {
        let mut why = [0; 512];
        // SAFETY: plain calls of a C library with valid pointers; strings outlive the calls.
        unsafe {
            let conf = rd::rd_kafka_conf_new();
            for (key, value) in settings {
                let (key, value) = (text(key)?, text(value)?);
                let set =
                    rd::rd_kafka_conf_set(conf, key.as_ptr(), value.as_ptr(), why.as_mut_ptr(), why.len());
                if set != rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    return Err(CStr::from_ptr(why.as_ptr()).to_string_lossy().into_owned());
                }
            }
            rd::rd_kafka_conf_set_events(conf, rd::RD_KAFKA_EVENT_DR);
            let kind = rd::rd_kafka_type_t::RD_KAFKA_PRODUCER;
            let client = rd::rd_kafka_new(kind, conf, why.as_mut_ptr(), why.len());
            if client.is_null() {
                return Err(CStr::from_ptr(why.as_ptr()).to_string_lossy().into_owned());
            }
            let topic = rd::rd_kafka_topic_new(client, text(topic)?.as_ptr(), null_mut());
            if topic.is_null() {
                return Err("librdkafka makes no topic".into());
            }
            Ok(Self { client, topic, events: rd::rd_kafka_queue_get_main(client) })
        }
    }

    /// Hands over messages; those that the queue has no room for are moved to the end. Says how many went.
    pub fn produce(&mut self, partition: i32, messages: &mut [Message]) -> Result<usize, String> {
        let count = i32::try_from(messages.len()).map_err(|error| error.to_string())?;
        // SAFETY: `Message` is a wrapper of C's struct in an array of `count`; payloads are static.
        unsafe {
            let first = messages.as_mut_ptr().cast::<rd::rd_kafka_message_t>();
            rd::rd_kafka_produce_batch(self.topic, partition, 0, first, count);
        }
        // It goes on after a message that it refuses, so the refused ones may lie anywhere.
        let mut sent = 0;
        for at in 0..messages.len() {
            match messages[at].0.err {
                rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    messages.swap(at, sent);
                    sent += 1;
                }
                rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL => {}
                other => return Err(format!("librdkafka refuses a record: {other:?}")),
            }
        }
        Ok(sent)
    }

    /// Waits so long for acknowledgements; says how many came, and `note` the partition of each.
    pub fn poll(&mut self, milliseconds: i32, mut note: impl FnMut(i32)) -> Result<u64, String> {
        let (mut acked, mut wait) = (0, milliseconds);
        loop {
            // SAFETY: the queue lives as long as the client; each event is destroyed once.
            unsafe {
                let event = rd::rd_kafka_queue_poll(self.events, wait);
                if event.is_null() {
                    return Ok(acked);
                }
                let result = delivered(event, &mut note);
                rd::rd_kafka_event_destroy(event);
                acked += result?;
            }
            wait = 0;
        }
    }
}

/// Counts the records of a delivery report; the first that failed is an error.
///
/// # Safety
/// `event` is a live event.
unsafe fn delivered(event: *mut rd::rd_kafka_event_t, note: &mut impl FnMut(i32)) -> Result<u64, String> {
    let mut count = 0;
    // SAFETY: the event is live; messages of it are looked at before it is destroyed.
    unsafe {
        loop {
            let message = rd::rd_kafka_event_message_next(event);
            if message.is_null() {
                return Ok(count);
            }
            if (*message).err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(format!("a record was not delivered: {:?}", (*message).err));
            }
            note((*message).partition);
            count += 1;
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // SAFETY: made by `new` and used no more.
        unsafe {
            rd::rd_kafka_queue_destroy(self.events);
            rd::rd_kafka_topic_destroy(self.topic);
            rd::rd_kafka_destroy(self.client);
        }
    }
}

fn text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|error| error.to_string())
}
