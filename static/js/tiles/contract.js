// @ts-check
/**
 * Interface of every kind of tile. `mount` builds the body of a card and subscribes to channels; after that values
 * arrive at any rate and are only stored, and `draw` shows the newest, at most once per animation frame.
 */

/**
 * Tile as stored by the server (docs/protocol.md, section 6.3).
 * @typedef {object} Tile
 * @property {string} id
 * @property {'number' | 'chart' | 'gauge' | 'bar' | 'state' | 'status' | 'table' | 'channels' | 'nodes' | 'alerts' | 'text' | 'markdown'} type
 * @property {string} title
 * @property {string} [channel]
 * @property {string} [field]
 * @property {string[]} [fields]
 * @property {number} [width] cells of the grid, 1 to 12
 * @property {number} [height] cells of the grid, 1 to 12
 * @property {Record<string, any>} [options] docs/dashboard.md lists them
 */

/**
 * Services of the page for tiles.
 * @typedef {object} Context
 * @property {import('../subscriptions.js').Subscriptions} subscriptions
 * @property {import('../rest.js').Rest} rest
 * @property {import('../charts/range.js').Range} range time range of charts
 * @property {import('../limits.js').Limits} limits of series
 * @property {import('../marks.js').Marks} marks of charts
 * @property {import('../announcer.js').Announcer} announcer
 * @property {() => string} currency of all amounts; empty while unknown
 * @property {() => () => void} followCurrency subscribes to the currency; returns a function that ends it
 * @property {() => boolean} mayWriteOrders
 * @property {() => boolean} mayAcknowledge
 * @property {() => {required: boolean, mayPush: boolean}} pushing whether the server requires a token, and whether the reader may push
 * @property {(channel: string, fields?: readonly string[]) => string} denied why the reader may not see this; empty if they may
 * @property {(tile: Tile) => import('../freshness.js').Age} age of a tile's values
 * @property {() => void} redraw requests a redraw soon, for new values
 * @property {() => void} redrawNow requests a redraw with the next frame, for an action of the reader
 */

/**
 * State of the page in a redraw.
 * @typedef {object} FrameState
 * @property {number} now the page's clock, ms
 * @property {boolean} live false greys all values
 * @property {boolean} lines whether sparklines are redrawn in this frame
 * @property {boolean} calm reduced motion
 * @property {import('../charts/palette.js').Palette} palette
 */

/**
 * @typedef {object} TileView
 * @property {(frame: FrameState) => void} draw
 * @property {(time: number) => void} [disconnected] connection lost or silent since `time`: lines break there
 * @property {(now: number) => void} [reconnected] connection restored: unchanged values hold from here on
 * @property {(silent: Map<string, number>) => void} [sourceStopped] the fields whose sources have stopped, and since when
 * @property {(clock: boolean) => void} [rangeChanged] the time range changed; `clock`: the page's clock, too, so that all times of before are wrong
 * @property {(on: boolean) => void} [printing] the page switched to or from the size of paper
 * @property {() => void} close ends every subscription
 */

/** @typedef {(tile: Tile, body: HTMLElement, context: Context) => TileView} Mount */

export {};
