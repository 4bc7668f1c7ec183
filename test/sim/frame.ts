import type { z } from 'zod';
import { decode, encode } from '../../protocol/codec.ts';
import type { Era } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { Envelope, type MessageOf, type PeerMessage } from '../../protocol/messages.ts';

/**
 * Bytes on the wire, and what the real decoder makes of them. They are decoded once, however many receive them: what
 * comes out is frozen, so a receiver that changed what another one reads would throw.
 */
export class Frame<S extends z.ZodType> {
  readonly bytes: Uint8Array;
  readonly #schema: S;
  readonly #limitBytes: number;
  #content: z.output<S> | undefined;

  constructor(schema: S, value: z.input<S>, limitBytes: number) {
    this.#schema = schema;
    this.#limitBytes = limitBytes;
    this.bytes = encode(value, limitBytes);
  }

  get content(): z.output<S> {
    this.#content ??= frozen(decode(this.#schema, this.bytes, this.#limitBytes));
    return this.#content;
  }
}

export type MessageFrame = Frame<typeof Envelope>;
type Append = MessageOf<'append'>;

/** Makes the frames of one agent. A round says the same to everybody: then it is encoded once. */
export class FrameMaker {
  #last: { append: Append; era: Era | null; frame: MessageFrame } | null = null;

  make(message: PeerMessage, era: Era | null): MessageFrame {
    if (message.kind === 'append') {
      const last = this.#last;
      if (last && last.era === era && sameAppend(last.append, message)) return last.frame;
    }
    const frame = new Frame(Envelope, { v: 1, era, message }, limits.frameBytes);
    if (message.kind === 'append') this.#last = { append: message, era, frame };
    return frame;
  }
}

/** Every field of an append, compared: by value, and the ledger by being the same object. */
const sameAppend = (a: Append, b: Append): boolean =>
  a.term === b.term &&
  a.round === b.round &&
  a.ledger === b.ledger &&
  a.stamp.term === b.stamp.term &&
  a.stamp.version === b.stamp.version &&
  a.committed.term === b.committed.term &&
  a.committed.version === b.committed.version &&
  String(a.away) === String(b.away);

function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) frozen(inner);
  return Object.freeze(value);
}
