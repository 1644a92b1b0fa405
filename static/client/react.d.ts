import type { Meta, Options, Status, SubscribeOptions, Tricast, TricastError } from './index.js';

/**
 * Returns a connection that lives as long as the component: opened after mounting, closed at unmounting. A change of `url`
 * creates another one; `options` are read at creation. Null until mounted (on a server, always).
 */
export function useTricast(url?: string, options?: Options): Tricast | null;

/** Returns the status of a connection and renders again after each change. Null without a connection. */
export function useStatus(tricast: Tricast | null): Status | null;

export interface Channel<T> {
  /** Newest value of a state channel, or data of the newest event; undefined until there is one. */
  readonly value: T | undefined;
  /** Metadata of the value or event. */
  readonly meta: Meta | undefined;
  /** Reason why the subscription was refused. */
  readonly error: TricastError | undefined;
}

/**
 * Follows a channel. Rendering uses the newest value; `onEvent` is called for each event, exactly
 * once and in order.
 */
export function useChannel<T = any>(
  tricast: Tricast | null,
  channel: string,
  options?: Pick<SubscribeOptions, 'interval' | 'onGap'> & { onEvent?: (data: T, meta: Meta) => void },
): Channel<T>;
