import type { z } from 'zod';
import { AutogitError } from './errors.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** JSON in UTF-8. Throws `frame-too-large` above `limitBytes`: the sender must not even try. */
export function encode(value: unknown, limitBytes: number): Uint8Array {
  const bytes = encoder.encode(JSON.stringify(value));
  if (bytes.byteLength > limitBytes)
    throw new AutogitError(
      'frame-too-large',
      `a message of ${bytes.byteLength} bytes is over the limit of ${limitBytes}`,
    );
  return bytes;
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
