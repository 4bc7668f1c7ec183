import type { z } from 'zod';
import { decode, encode } from '../../protocol/codec.ts';
import type { Era, Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { Envelope, type MessageOf, type PeerMessage } from '../../protocol/messages.ts';
import { Report } from '../../protocol/report.ts';
import { isSame } from './history.ts';
import type { Transcript } from './transcript.ts';

/** What travels. */
export interface Frame<S extends z.ZodType> {
  readonly bytes: Uint8Array;
  readonly content: z.output<S>;
  mixInto(transcript: Transcript): void;
}
export type MessageFrame = Frame<typeof Envelope>;

/**
 * Bytes on the wire, and what the real decoder makes of them. Those that several receive are decoded once: what comes
 * out is frozen, so a receiver that changed what another one reads would throw.
 */
class Coded<S extends z.ZodType> implements Frame<S> {
  readonly bytes: Uint8Array;
  readonly #schema: S;
  readonly #limitBytes: number;
  readonly #isShared: boolean;
  #content: z.output<S> | undefined;

  constructor(schema: S, value: z.input<S>, limitBytes: number, isShared: boolean) {
    this.#schema = schema;
    this.#limitBytes = limitBytes;
    this.#isShared = isShared;
    this.bytes = encode(value, limitBytes);
  }

  get content(): z.output<S> {
    if (!this.#isShared) return this.decoded();
    this.#content ??= frozen(this.decoded());
    return this.#content;
  }

  mixInto(transcript: Transcript): void {
    transcript.mix(this.bytes);
  }

  protected decoded(): z.output<S> {
    return decode(this.#schema, this.bytes, this.#limitBytes);
  }
}

export const reportFrame = (report: Report): Frame<typeof Report> =>
  new Coded(Report, report, limits.reportBytes, true);

class CodedFrame extends Coded<typeof Envelope> {
  constructor(envelope: Envelope, isShared: boolean) {
    super(Envelope, envelope, limits.frameBytes, isShared);
  }
}

const envelope = (message: PeerMessage, era: Era | null): Envelope => ({ v: 1, era, message });
/** What is said again and again, in rounds. */
type Beat = MessageOf<'append' | 'ack'>;

/** What a ledger has many of, and changes one by one. */
type Parts = Readonly<Record<string, object>>;
const partsOf = ['nodes', 'classes', 'runs', 'requests', 'acts'] as const;

/** What the decoder made of a part of a ledger that some leader had. Both are frozen, so it would make the same again. */
const decodedParts = new WeakMap<object, object>();

const isNew = (part: object): boolean => !decodedParts.has(part);
const newOf = (parts: Parts): object =>
  Array.isArray(parts)
    ? parts.filter(isNew)
    : Object.fromEntries(Object.entries(parts).filter(([, part]) => isNew(part)));

const decodedOf = (part: object): object => decodedParts.get(part)!;
function allDecoded(parts: Parts): object {
  if (Array.isArray(parts)) return parts.map(decodedOf);
  const all: Record<string, object> = {};
  for (const key in parts) all[key] = decodedOf(parts[key]!);
  return all;
}

/**
 * A ledger on its way. A ledger follows another and most of its parts are the same objects: only those travel as bytes
 * that no receiver has decoded before, and with them the rest of the ledger.
 */
class LedgerFrame extends CodedFrame {
  readonly #ledger: Ledger;
  readonly #travels: Ledger;

  constructor(message: MessageOf<'append'>, ledger: Ledger, era: Era | null) {
    const travels = { ...ledger };
    for (const name of partsOf) if (ledger[name]) Object.assign(travels, { [name]: newOf(ledger[name] as Parts) });
    super(envelope({ ...message, ledger: travels }, era), true);
    this.#ledger = ledger;
    this.#travels = travels;
  }

  protected override decoded(): Envelope {
    const { message, ...rest } = super.decoded();
    if (message.kind !== 'append' || !message.ledger) return { message, ...rest };
    const ledger = { ...message.ledger };
    for (const name of partsOf) {
      const [sent, heard] = [this.#travels[name] as Parts | undefined, ledger[name] as Parts | undefined];
      if (!sent || !heard) continue;
      for (const key in sent) decodedParts.set(frozen(sent[key]!), frozen(heard[key]!));
      Object.assign(ledger, { [name]: allDecoded(this.#ledger[name] as Parts) });
    }
    return { ...rest, message: { ...message, ledger } };
  }
}

/** Says the same as another one in another round: what the decoder makes of it is known, but for that number. */
class RoundFrame implements MessageFrame {
  readonly #same: MessageFrame;
  readonly #round: number;
  #content: Envelope | undefined;

  constructor(same: MessageFrame, round: number) {
    this.#same = same;
    this.#round = round;
  }

  get content(): Envelope {
    this.#content ??= this.#inRound(this.#same.content);
    return this.#content;
  }

  get bytes(): Uint8Array {
    return encode(this.content, limits.frameBytes);
  }

  mixInto(transcript: Transcript): void {
    transcript.mixNumber(this.#round);
  }

  #inRound({ v, era, message }: Envelope): Envelope {
    return Object.freeze({ v, era, message: Object.freeze({ ...message, round: this.#round }) }) as Envelope;
  }
}

interface Made {
  message: Beat;
  era: Era | null;
  /** Went through the codec; `frame` is it, or says the same in another round. */
  coded: MessageFrame;
  frame: MessageFrame;
}

/** Of what says the same again and again every so many rounds go through the codec. */
const codedEvery = 16;

/**
 * Makes the frames of one agent. A round says the same to everybody: then it is one frame. In calm it says the same as
 * the round before, and so do the answers: few of them go through the codec.
 */
export class FrameMaker {
  readonly #last: Record<Beat['kind'], Made | null> = { append: null, ack: null };

  make(message: PeerMessage, era: Era | null): MessageFrame {
    if (message.kind !== 'append' && message.kind !== 'ack') return new CodedFrame(envelope(message, era), false);
    const last = this.#last[message.kind];
    const isSame = last !== null && last.era === era && saysTheSame(last.message, message);
    if (isSame && last.message.round === message.round) return last.frame;
    const isKnown = isSame && last.message.round < message.round && message.round % codedEvery !== 0;
    const coded = isKnown ? last.coded : this.#encoded(message, era);
    const frame = isKnown ? new RoundFrame(coded, message.round) : coded;
    this.#last[message.kind] = { message, era, coded, frame };
    return frame;
  }

  #encoded(message: Beat, era: Era | null): MessageFrame {
    if (message.kind === 'append' && message.ledger) return new LedgerFrame(message, message.ledger, era);
    return new CodedFrame(envelope(message, era), true);
  }
}

/** Every field but the round, compared. */
function saysTheSame(a: Beat, b: Beat): boolean {
  for (const key in a) if (key !== 'round' && !isSame(a[key as keyof Beat], b[key as keyof Beat])) return false;
  for (const key in b) if (!(key in a)) return false;
  return true;
}

function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const key in value) frozen(value[key]);
  return Object.freeze(value);
}
