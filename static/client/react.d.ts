import type { Meta, Options, Status, SubscribeOptions, Tricast, TricastError } from './index.js';

/**
 * A connection that lives as long as the component: opened after it is mounted, closed with it. A change of `url` makes
 * another; `options` are read when it is made. Null until it is mounted (on a server, for ever).
 */
export function useTricast(url?: string, options?: Options): Tricast | null;

/** The status of a connection; rendered again after each change. Null without a connection. */
export function useStatus(tricast: Tricast | null): Status | null;

export interface Channel<T> {
  /** The newest value of a state channel, or the data of the newest event; undefined until there is one. */
  readonly value: T | undefined;
  /** What came with it. */
  readonly meta: Meta | undefined;
  /** Why the subscription was refused. */
  readonly error: TricastError | undefined;
}

/**
 * Follows a channel. Rendering takes the newest value; whoever needs each event passes `onEvent`, which is called exactly
 * once for each, in order.
 */
export function useChannel<T = any>(
  tricast: Tricast | null,
  channel: string,
  options?: Pick<SubscribeOptions, 'interval' | 'onGap'> & { onEvent?: (data: T, meta: Meta) => void },
): Channel<T>;
