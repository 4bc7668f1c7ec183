/**
 * How GitLab reads an unquoted scalar: by Psych, Ruby's YAML 1.1. `0755` is 493, `1_000` and `1,000` are 1000, `12:30` is 45000 (Psych counts
 * two parts as hours and minutes), `yes` and `on` are true in any case, `y` is a text. A date is refused by GitLab itself: `Unloadable`.
 */
export class Unloadable extends Error {}

const text = /^(?:[^\d.:-])?[\p{Alpha}_\s!@#$%^&*(){}<>|/\\~;=]+/u;
const dated = /^\d{4}-(?:1[012]|0\d|\d)-(?:[12]\d|3[01]|0\d|\d)$/;
const timed = /^-?\d{4}-\d{1,2}-\d{1,2}(?:[Tt]|\s+)\d{1,2}:\d\d:\d\d(?:\.\d*)?(?:\s*(?:Z|[-+]\d{1,2}:?(?:\d\d)?))?$/;
const float = /^[-+]?(?:[0-9][0-9_,]*)?\.[0-9]*(?:[eE][+-][0-9]+)?$/;
const base60 = /^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){1,2}$/;
const base60Float = /^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){1,2}\.[0-9_]*$/;
const whole: [RegExp, number][] = [
  [/^[-+]?0b([01_,]*[01][01_,]*)$/, 2],
  [/^[-+]?0x([0-9a-fA-F_,]*[0-9a-fA-F][0-9a-fA-F_,]*)$/, 16],
  [/^[-+]?0([0-7_,]*[0-7][0-7_,]*)$/, 8],
  [/^[-+]?(0|[1-9](?:[0-9]|,[0-9]|_[0-9])*)$/, 10],
];

const word = (short: string): string | boolean | null => {
  if (short === '~' || /^null$/i.test(short)) return null;
  if (/^(?:yes|true|on)$/i.test(short)) return true;
  return /^(?:no|false|off)$/i.test(short) ? false : short;
};

const sixty = (written: string): number =>
  written
    .split(':')
    .reduce((sum, part, index) => sum + Number.parseFloat(part.replaceAll('_', '')) * 60 ** Math.abs(index - 2), 0);

const integer = (written: string): number | null => {
  for (const [shape, base] of whole) {
    const digits = shape.exec(written)?.[1];
    if (digits === undefined) continue;
    const value = Number.parseInt(digits.replace(/[_,]/g, ''), base);
    return written.startsWith('-') ? -value : value;
  }
  return null;
};

/** Throws Unloadable for a date or a time. */
export const psychScalar = (written: string): string | number | boolean | null => {
  if (written === '') return null;
  if (text.test(written) || written.includes('\n')) return written.length > 5 ? written : word(written);
  if (timed.test(written)) throw new Unloadable('Tried to load unspecified class: Time (quote what is no date to you)');
  if (dated.test(written)) throw new Unloadable('Tried to load unspecified class: Date (quote what is no date to you)');
  if (/^\+?\.inf$/i.test(written)) return Number.POSITIVE_INFINITY;
  if (/^-\.inf$/i.test(written)) return Number.NEGATIVE_INFINITY;
  if (/^\.nan$/i.test(written)) return Number.NaN;
  // A symbol of Ruby; GitLab takes it for its name.
  if (/^:./.test(written)) return written.slice(1).replace(/^(["'])(.*)\1$/, '$2');
  if (base60.test(written) || base60Float.test(written)) return sixty(written);
  if (float.test(written)) return /^[-+]?\.$/.test(written) ? written : Number(written.replace(/[_,]/g, ''));
  return integer(written) ?? written;
};
