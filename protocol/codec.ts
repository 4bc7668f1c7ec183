import type { z } from 'zod';
import { AutogitError } from './errors.ts';
import { fits } from './schema-fit.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** JSON in UTF-8. Throws `frame-too-large` above `limitBytes`: the sender must not even try. */
export const encode = (value: unknown, limitBytes: number): Uint8Array => encodeText(JSON.stringify(value), limitBytes);

/** The same of what is JSON already. */
export function encodeText(text: string, limitBytes: number): Uint8Array {
  const bytes = encoder.encode(text);
  if (bytes.byteLength > limitBytes)
    throw new AutogitError(
      'frame-too-large',
      `a message of ${bytes.byteLength} bytes is over the limit of ${limitBytes}`,
    );
  return bytes;
}

const texts = new WeakMap<object, string>();

/** JSON of something that never changes, made once: a ledger goes to each follower, and to the disk as accepted and as committed. */
export function jsonOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const known = texts.get(value);
  if (known !== undefined) return known;
  const text = JSON.stringify(value);
  texts.set(value, text);
  return text;
}

/** Checks bytes at the door: size, UTF-8, JSON, schema. Throws `frame-too-large` or `bad-message`, never anything else. */
export function decode<S extends z.ZodType>(schema: S, bytes: Uint8Array, limitBytes: number): z.output<S> {
  return checked(schema, parsed(bytes, limitBytes));
}

/** The first half: size, UTF-8 and JSON. */
export function parsed(bytes: Uint8Array, limitBytes: number): unknown {
  if (bytes.byteLength > limitBytes)
    throw new AutogitError(
      'frame-too-large',
      `a message of ${bytes.byteLength} bytes is over the limit of ${limitBytes}`,
    );
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch (cause) {
    throw new AutogitError('bad-message', 'a message is no JSON in UTF-8', { cause });
  }
}

/** The second half: the agreed form. */
export function checked<S extends z.ZodType>(schema: S, json: unknown): z.output<S> {
  if (fits(schema, json)) return json as z.output<S>;
  const found = schema.safeParse(json);
  if (!found.success) {
    const first = found.error.issues[0];
    throw new AutogitError(
      'bad-message',
      `a message is not of the agreed form: ${first ? `${first.path.join('.')}: ${first.message}` : 'unknown'}`,
    );
  }
  return found.data;
}
