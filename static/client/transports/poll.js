// @ts-check
/**
 * Polling, with one loop for two transports: a long poll is held by the server until something changes, a plain poll repeats
 * every few seconds. It resumes with `since`; the snapshot alone is requested with its `ETag`, which is the same for all
 * clients. A response without changes is a 304 without a body.
 */
import { refusal } from '../http.js';
import { withoutStates } from '../position.js';

/** Below the 25 s that the server allows and the 60 s after which common proxies cut. */
const WAIT_S = 20;
/** Pause between two long polls, so that a fast channel does not cause as many requests. */
const BREATH_MS = 200;
/** Longest time of a request beyond the time it is held. */
const ANSWER_MS = 8_000;

/** @type {import('../connection.js').Open} */
export function openPoll({ http, options, name, wants, since }, emit) {
  const wait = name === 'poll' ? 0 : WAIT_S * 1000;
  const pause = wait ? BREATH_MS : (options.pollInterval ?? 2_000);
  const pace = { quiet: wait + pause + ANSWER_MS / 2, dead: wait + pause + 1.5 * ANSWER_MS };
  const stop = new AbortController();
  let cursor = since();
  let tag = '';
  let asked = '';
  let opened = false;
  let changed = false;
  /** @type {AbortController | undefined} */
  let question;
  /** @type {() => void} */
  let wake = () => {};

  /**
   * @param {any} query
   * @param {number} hold milliseconds
   */
  const ask = async (query, hold) => {
    const current = (question = new AbortController());
    const late = setTimeout(() => current.abort(), hold + ANSWER_MS);
    const headers = {
      Accept: 'application/json',
      ...(tag && { 'If-None-Match': tag }),
      ...(hold && { Prefer: `wait=${hold / 1000}` }),
    };
    const askedAt = performance.now();
    try {
      const response = await http.ask(http.address('api/metrics', query), { headers, signal: current.signal });
      if (response.status !== 304 && !response.ok) throw await refusal(response);
      const body = response.status === 304 ? null : await response.json();
      emit({ type: 'alive' });
      if (!hold) emit({ type: 'latency', ms: performance.now() - askedAt });
      return { body, tag: response.headers.get('ETag') ?? '' };
    } finally {
      clearTimeout(late);
    }
  };

  const turn = async () => {
    const channels = [...wants().keys()].join();
    const alone = channels === 'metrics';
    let fresh = false;
    if (asked !== channels) {
      tag = '';
      fresh = true;
      // An event channel of every server: returns the current cursor.
      if (!cursor && !alone)
        emit({ type: 'start', cursor: (cursor = (await ask({ channels: 'system' }, 0)).body.cursor) });
    }
    const from = cursor && fresh ? withoutStates(cursor) : cursor;
    const answer = await ask(alone ? {} : { channels, since: from }, fresh ? 0 : wait);
    asked = channels;
    if (!opened) {
      opened = true;
      emit({ type: 'open', ...pace });
    }
    const { body } = answer;
    if (!body) return;
    // After a gap the answer has all channels that there are.
    if (body.gap) emit({ type: 'gap', reason: 'too_old', channels: [...wants().keys()] });
    cursor = body.cursor;
    if (alone) {
      tag = answer.tag;
      const { cursor: _, timestamp, ...data } = body;
      return emit({ type: 'state', channel: channels, data, timestamp, cursor });
    }
    const states = Object.entries(body.channels);
    const ended = Object.entries(body.gone ?? {});
    // Tag of a response without changes: the next one can be a 304.
    tag = states.length + ended.length + body.events.length ? '' : answer.tag;
    for (const event of body.events) emit({ ...event, type: 'event' });
    for (const [channel, gone] of ended) emit({ type: 'state', channel, gone, timestamp: body.timestamp, cursor });
    for (const [channel, data] of states) emit({ type: 'state', channel, data, timestamp: body.timestamp, cursor });
    emit({ type: 'cursor', cursor });
  };

  const run = async () => {
    while (!stop.signal.aborted) {
      changed = false;
      await turn().catch((error) => {
        if (!changed) throw error; // otherwise aborted because the subscriptions changed
      });
      if (changed || stop.signal.aborted) continue;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, pause);
        wake = () => (clearTimeout(timer), resolve(null));
      });
    }
  };
  run().catch((down) => emit({ type: 'down', ...down, reason: down.reason ?? 'no answer' }));

  return {
    close: () => {
      stop.abort();
      question?.abort();
      wake();
    },
    update: () => {
      if ([...wants().keys()].join() === asked) return;
      changed = true;
      question?.abort();
      wake();
    },
  };
}
