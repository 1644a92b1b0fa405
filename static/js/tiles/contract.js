// @ts-check
/**
 * What every kind of tile is made of. `mount` builds the body of a card and subscribes to what it shows; after that values
 * come in at any rate and are only remembered, and `draw` shows what is newest, at most once per animation frame.
 */

/**
 * A tile as the server keeps it (docs/protocol.md, section 6.3).
 * @typedef {object} Tile
 * @property {string} id
 * @property {'number' | 'chart' | 'table' | 'alerts' | 'text'} type
 * @property {string} title
 * @property {string} [channel]
 * @property {string} [field]
 * @property {string[]} [fields]
 * @property {number} [width] cells of the grid, 1 to 12
 * @property {number} [height] cells of the grid, 1 to 12
 * @property {Record<string, any>} [options] `unit`, `text`, `noDataAfter`
 */

/**
 * What a tile needs from the page.
 * @typedef {object} Context
 * @property {import('../live.js').Live} live
 * @property {import('../rest.js').Rest} rest
 * @property {import('../charts/range.js').Range} range the time that charts show
 * @property {import('../announcer.js').Announcer} announcer
 * @property {() => string} currency of all amounts; empty while unknown
 * @property {() => () => void} followCurrency has it known; returns what ends that
 * @property {() => boolean} mayWriteOrders
 * @property {() => boolean} mayAcknowledge
 * @property {(channel: string, fields?: readonly string[]) => string} denied why the reader may not see this; empty if they may
 * @property {(tile: Tile) => import('../freshness.js').Age} age of what a tile shows
 * @property {() => void} redraw asks for a frame soon, for news
 * @property {() => void} hurry asks for the next frame, for what the reader does
 */

/**
 * What a redraw needs to know.
 * @typedef {object} View
 * @property {number} now the page's clock, ms
 * @property {boolean} live false greys everything
 * @property {boolean} lines whether sparklines move on in this frame
 * @property {boolean} calm the reader asked for less motion
 * @property {import('../charts/ink.js').Ink} ink
 */

/**
 * @typedef {object} Face
 * @property {(view: View) => void} draw
 * @property {(time: number) => void} [lose] the link is gone or silent since `time`: lines break there
 * @property {(now: number) => void} [regain] the link works again: what did not change holds from here on
 * @property {(since: number | null) => void} [silence] when the source stopped; null when it has not, or is back
 * @property {(length: boolean) => void} [rescale] the range of time was changed; `length`: what it covers, too
 * @property {(on: boolean) => void} [print] the page has the size of paper now, or no longer
 * @property {() => void} close ends every subscription
 */

/** @typedef {(tile: Tile, body: HTMLElement, context: Context) => Face} Mount */

export {};
