import type { z } from 'zod';
import { decode, encode } from '../../protocol/codec.ts';
import type { Era, Ledger, Run } from '../../protocol/ledger.ts';
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

/** What the decoder made of a run that some leader had in its ledger. Both are frozen, so it would make the same again. */
const decodedRuns = new WeakMap<Run, Run>();

/**
 * A ledger on its way. A ledger follows another and most of its runs are the same objects: only those runs travel as
 * bytes that no receiver has decoded before, and with them the rest of the ledger.
 */
class LedgerFrame extends CodedFrame {
  readonly #runs: Ledger['runs'];

  constructor(message: MessageOf<'append'>, ledger: Ledger, era: Era | null) {
    const runs: Ledger['runs'] = {};
    for (const id in ledger.runs) if (!decodedRuns.has(ledger.runs[id]!)) runs[id] = ledger.runs[id]!;
    super(envelope({ ...message, ledger: { ...ledger, runs } }, era), true);
    this.#runs = ledger.runs;
  }

  protected override decoded(): Envelope {
    const { message, ...rest } = super.decoded();
    if (message.kind !== 'append' || !message.ledger) return { message, ...rest };
    const runs: Ledger['runs'] = {};
    for (const id in this.#runs) {
      const run = this.#runs[id]!;
      const decoded = message.ledger.runs[id];
      if (decoded) decodedRuns.set(frozen(run), frozen(decoded));
      runs[id] = decodedRuns.get(run)!;
    }
    return { ...rest, message: { ...message, ledger: { ...message.ledger, runs } } };
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
