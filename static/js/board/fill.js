// @ts-check
/**
 * Fills the holes of the grid: the browser places each tile at the first place where it fits (`grid-auto-flow: dense`), and a tile
 * beside or above a hole grows into it, to at most twice its size. In edit mode each tile has its own size.
 */

/** @typedef {{width: number, height: number}} Size cells of the grid */

/**
 * Returns the sizes of tiles in a grid without holes, as far as that is possible.
 * @param {readonly Size[]} tiles in order
 * @param {number} columns
 * @returns {Size[]}
 */
export function filled(tiles, columns) {
  /** Which tile has a cell, by row. @type {(number | undefined)[][]} */
  const cells = [];
  const isFree = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ width, /** @type {number} */ height) => {
    for (let row = y; row < y + height; row += 1) for (let column = x; column < x + width; column += 1) if (cells[row]?.[column] !== undefined) return false;
    return true;
  };
  const take = (/** @type {{x: number, y: number, width: number, height: number}} */ { x, y, width, height }, /** @type {number} */ tile) => {
    for (let row = y; row < y + height; row += 1) for (let column = x; column < x + width; column += 1) (cells[row] ??= [])[column] = tile;
  };
  const places = tiles.map(({ width, height }, tile) => {
    const size = { width: Math.min(width, columns), height };
    for (let y = 0; ; y += 1) {
      for (let x = 0; x + size.width <= columns; x += 1) {
        if (!isFree(x, y, size.width, height)) continue;
        const place = { x, y, ...size };
        take(place, tile);
        return place;
      }
    }
  });
  const rows = cells.length;
  const widen = (/** @type {number} */ tile) => {
    const place = places[tile];
    const { width, height } = place;
    while (place.x + place.width < columns && place.width < 2 * width && isFree(place.x + place.width, place.y, 1, height)) place.width += 1;
    // A hole that the tile can't fill to its end stays with its neighbours.
    if (place.x + place.width < columns && cells[place.y]?.[place.x + place.width] === undefined) place.width = width;
    take(place, tile);
  };
  const heighten = (/** @type {number} */ tile) => {
    const place = places[tile];
    const { height } = place;
    while (place.y + place.height < rows && place.height < 2 * height && isFree(place.x, place.y + place.height, place.width, 1)) place.height += 1;
    if (place.y + place.height < rows && isFree(place.x, place.y + place.height, place.width, 1)) place.height = height;
    take(place, tile);
  };
  // Charts below each other keep one width, but on a phone the last of an odd row of numbers is wide rather than the one above it tall.
  if (columns === 2) tiles.forEach((_, tile) => widen(tile));
  tiles.forEach((_, tile) => {
    if (columns !== 2) widen(tile);
    heighten(tile);
  });
  return places.map(({ width, height }) => ({ width, height }));
}

/** Types that need at least half of six columns, as in css/layout.css. */
const WIDE = new Set(['chart', 'table', 'channels', 'nodes']);

/**
 * Returns the size of a tile in a grid of six columns, as in css/layout.css.
 * @param {string} type
 * @param {Size} size in a grid of twelve
 */
const halved = (type, { width, height }) => ({ width: Math.min(6, Math.max(WIDE.has(type) ? 3 : 2, Math.ceil(width / 2))), height });

/**
 * Returns the size of a tile in a grid of two columns, as in css/layout.css: numbers stand in pairs.
 * @param {string} type
 * @param {Size} size in a grid of twelve
 */
const paired = (type, { height }) => ({ width: type === 'number' ? 1 : 2, height });

/**
 * Sets the sizes of the cards of a dashboard.
 * @param {HTMLElement} board
 * @param {readonly {element: HTMLElement, type: string, size: Size}[]} cards in order
 */
export function fillGrid(board, cards) {
  const columns = Number(getComputedStyle(board).getPropertyValue('--columns')) || 12;
  const isEditing = board.dataset.editing === 'true';
  const sizeIn = (/** @type {string} */ type, /** @type {Size} */ size) => (columns < 6 ? paired(type, size) : columns === 6 ? halved(type, size) : size);
  const sizes = isEditing ? null : filled(cards.map(({ type, size }) => sizeIn(type, size)), columns);
  cards.forEach(({ element: { style } }, index) => {
    if (sizes === null) {
      style.removeProperty('--span');
      style.removeProperty('--rows');
    } else {
      style.setProperty('--span', String(sizes[index].width));
      style.setProperty('--rows', String(sizes[index].height));
    }
  });
}
