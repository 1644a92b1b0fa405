// @ts-check
/**
 * Dashboards as files: `{"name": ..., "tiles": [...]}`, the body of `POST /api/dashboards`. What `GET /api/dashboards/{id}` returns
 * can be imported as well.
 */

/** Largest file that is read; a dashboard has at most 64 KiB. */
const MOST_BYTES = 256 * 1024;

/** @typedef {import('./model.js').Board} Board */

/**
 * Returns a dashboard without what belongs to one server: its id and version.
 * @param {Board} board
 */
export const toFile = ({ name, tiles }) => `${JSON.stringify({ name, tiles }, null, 2)}\n`;

/**
 * Reads a file.
 * @param {string} text
 * @returns {{name: string, tiles: Record<string, unknown>[]}}
 * @throws {Error} with a message for the reader; the server checks the tiles
 */
export function fromFile(text) {
  /** @type {any} */
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error('This file is not JSON.');
  }
  const isBoard = data !== null && typeof data === 'object' && typeof data.name === 'string' && Array.isArray(data.tiles);
  if (!isBoard) throw new Error('This file is not a dashboard: it has no name and tiles.');
  return { name: data.name, tiles: data.tiles };
}

/**
 * Saves a dashboard as a file of the reader.
 * @param {Board} board
 */
export function download(board) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([toFile(board)], { type: 'application/json' }));
  link.download = `${board.name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '') || 'dashboard'}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * Asks for a file and reads it.
 * @returns {Promise<ReturnType<typeof fromFile> | null>} null if none was chosen
 * @throws {Error} with a message for the reader
 */
export async function upload() {
  const input = document.createElement('input');
  input.type = 'file';
  input.accept = '.json,application/json';
  const file = await new Promise((resolve) => {
    input.addEventListener('change', () => resolve(input.files?.[0] ?? null));
    input.addEventListener('cancel', () => resolve(null));
    input.click();
  });
  if (file === null) return null;
  if (file.size > MOST_BYTES) throw new Error('This file is too large for a dashboard.');
  return fromFile(await file.text());
}
