// Values as text. A value that is not known, or not permitted, is a dash.

const orDash = (format) => (value) => (value === null || value === undefined ? '–' : format(value));
const digits = (minimumFractionDigits, maximumFractionDigits = minimumFractionDigits) =>
  new Intl.NumberFormat('en', { minimumFractionDigits, maximumFractionDigits });

const [whole, cents, tenths, any] = [digits(0), digits(2), digits(1), digits(0, 3)];

export const count = orDash((value) => whole.format(value));
export const money = orDash((value) => cents.format(value));
export const rate = orDash((value) => tenths.format(value));
export const percent = orDash((value) => `${whole.format(value)} %`);
export const time = orDash((value) => new Date(value).toLocaleTimeString('en-GB'));
/** Formats a metric of any type. */
export const metric = orDash((value) => {
  if (typeof value === 'number') return any.format(value);
  return typeof value === 'string' ? value : JSON.stringify(value);
});
