// @ts-check
/** Tests event streams with probe events at known times. */

import { PATIENCE_MS, described, send } from './ask.js';
import { spoken } from './report.js';
import { HELD_MS, measure } from './timing.js';

/** @typedef {import('./report.js').Check} Check */
/** @typedef {import('./timing.js').ProbeEvent} ProbeEvent */

/** In total slightly less than the usual buffer of 8 KiB, so that a buffering proxy holds all of it until the end. */
const RHYTHM = { probe: 12, every: 250, bytes: 512 };

/**
 * Reads a stream of probe events to its end.
 * @param {{probe: number, every: number, bytes: number}} rhythm
 * @param {number} patience ms for all of it
 */
export async function listen(rhythm, patience) {
  const began = performance.now();
  const query = Object.fromEntries(Object.entries(rhythm).map(([name, value]) => [name, String(value)]));
  const stop = AbortSignal.timeout(patience);
  const response = await send('events', { query: { ...query, strict: '1' }, headers: { Accept: 'text/event-stream' }, signal: stop });
  const kind = response.headers.get('content-type') ?? '';
  /** @type {ProbeEvent[]} */
  const beats = [];
  const heard = {
    status: response.status,
    kind,
    encoded: response.headers.get('content-encoding'),
    problem: /** @type {string | null} */ (null),
    /** @type {Record<string, any>} */
    seen: {},
    beats,
    /** Reason of a refusal that was sent in the stream. @type {string | null} */
    refused: null,
    cut: false,
    after: 0,
  };
  if (response.status !== 200 || !kind.startsWith('text/event-stream')) {
    if (kind.startsWith('application/problem+json')) heard.problem = (await response.json().catch(() => null))?.detail ?? null;
    else await response.body?.cancel();
    return heard;
  }
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  try {
    for (;;) {
      const piece = await reader?.read();
      if (piece === undefined || piece.done) break;
      buffer += piece.value;
      const blocks = buffer.split('\n\n');
      buffer = blocks.pop() ?? '';
      for (const block of blocks) take(block);
    }
  } catch {
    heard.cut = true;
  }
  heard.after = performance.now() - began;
  return heard;

  function take(/** @type {string} */ block) {
    const field = (/** @type {string} */ name) => block.split('\n').find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    const data = JSON.parse(field('data') ?? 'null');
    const event = field('event');
    if (event === 'seen') heard.seen = data;
    if (event === 'probe') beats.push({ sentAt: data.at, receivedAt: performance.now() - began, bytes: block.length + 2 });
    if (event === 'error') heard.refused = data.detail ?? 'without a reason';
  }
}

/** @returns {Promise<Check & {live: boolean}>} `live`: events arrive while the stream is open */
export async function checkEvents() {
  const total = (RHYTHM.probe - 1) * RHYTHM.every;
  const heard = await listen(RHYTHM, total + PATIENCE_MS).catch((error) => String(error.message));
  const check = typeof heard === 'string' ? fail('do not work', { detail: `${heard}.` }) : judge(heard);
  return { live: false, ...check };
}

/** @param {Awaited<ReturnType<typeof listen>>} heard */
function judge(heard) {
  const { status, kind, problem, encoded, beats, refused, after, cut } = heard;
  if (status === 404 && problem === null) return fail('404: the path is not forwarded', { remedies: ['passed'] });
  if ([429, 503].includes(status) && problem !== null) return check('skipped', 'not tested', { detail: `The server says: ${problem}.` });
  if (status !== 200) return fail(`returned ${described(heard)}`);
  if (!kind.startsWith('text/event-stream')) {
    return fail('another server responds', { detail: `200 with the content type "${kind}": a login page, or another server.` });
  }
  if (refused !== null) return fail('refused in the stream', { detail: `The error says: ${refused}.` });
  if (beats.length === 0) {
    return fail(`no event within ${spoken(after)}`, { detail: 'The response began, but no event followed.', remedies: ['buffering'] });
  }
  const { held, batches, largest, isHeld } = measure(beats);
  if (isHeld) {
    const how = batches === 1
      ? `all ${beats.length} events arrived at once, at the end`
      : `${beats.length} events arrived in ${batches} batches, the largest of ${largest} bytes`;
    return fail(`held back by a proxy for ${spoken(held)}`, {
      detail: `Sent every ${RHYTHM.every} ms, ${how}. The server asks for no buffering (X-Accel-Buffering: no); a proxy ignores that, or a first one keeps it from a second.`,
      remedies: [...(encoded === null ? [] : ['stream_compression']), 'buffering', ...(heard.seen.http === '1.0' ? ['version'] : [])],
    });
  }
  if (beats.length < RHYTHM.probe) {
    return fail(`cut after ${spoken(after)}, ${beats.length} of ${RHYTHM.probe} events`, {
      detail: cut ? 'The connection broke off.' : 'The stream ended regularly, before its last event.',
      remedies: ['events_timeout'],
    });
  }
  if (encoded !== null && encoded !== 'identity') {
    return check('warn', `compressed on the way (${encoded})`, {
      detail: 'They arrive at once here, but compressors often wait for more data.',
      remedies: ['stream_compression'],
      live: true,
    });
  }
  if (held >= HELD_MS) {
    return check('warn', `uneven, by up to ${spoken(held)}`, {
      detail: 'Not as a buffer does it: the network, or a machine that is busy.',
      live: true,
    });
  }
  return check('ok', `work, the first after ${spoken(beats[0].receivedAt)}`, { live: true });
}

/**
 * @param {import('./report.js').Verdict} verdict
 * @param {string} headline
 * @param {object} [more]
 * @returns {Check & {live?: boolean}}
 */
function check(verdict, headline, more = {}) {
  return { id: 'events', name: 'Events', verdict, headline, ...more };
}

const fail = (/** @type {string} */ headline, more = {}) => check('fail', headline, more);
