'use client';
// @ts-check
/** Hooks for React 18 and later, documented in react.d.ts. */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { connect } from './index.js';

/** @type {import('./react.js').useTricast} */
export function useTricast(url = '/', options) {
  const [tricast, setTricast] = useState(/** @type {import('./index.js').Tricast | null} */ (null));
  useEffect(() => {
    const made = connect(url, options);
    setTricast(made);
    return () => made.close();
  }, [url]); // options are a new object at each rendering
  return tricast;
}

/** @type {import('./react.js').useStatus} */
export function useStatus(tricast) {
  const subscribe = useCallback(
    (/** @type {() => void} */ changed) => tricast?.onStatus(changed) ?? (() => {}),
    [tricast],
  );
  return useSyncExternalStore(
    subscribe,
    () => tricast?.status ?? null,
    () => null,
  );
}

/** @type {import('./react.js').useChannel} */
export function useChannel(tricast, channel, options = {}) {
  const [seen, setSeen] = useState(/** @type {any} */ ({}));
  const { interval } = options;
  const newest = useRef(options);
  useEffect(() => void (newest.current = options));
  useEffect(() => {
    setSeen({});
    return tricast?.subscribe(
      channel,
      (value, meta) => {
        setSeen({ value, meta });
        if (meta.event) newest.current.onEvent?.(value, meta);
      },
      {
        interval,
        onGap: (gap) => newest.current.onGap?.(gap),
        onError: (error) => setSeen({ error }),
      },
    );
  }, [tricast, channel, interval]);
  return seen;
}
