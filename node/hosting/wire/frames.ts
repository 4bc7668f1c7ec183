import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { sentenceOf } from '../../../protocol/errors.ts';
import { RoundName } from '../../../protocol/round-name.ts';
import { lineTimings } from './line-options.ts';

/** Kind of a frame, then its length, then its bytes. */
const header = 5;
const most = { words: 1 << 20, data: 64 << 10 } as const;

/** `progress`, of the standby's: how many bytes of the stream it has taken so far, in six bytes; only where it was asked for. */
export const frameKinds = { words: 1, data: 2, end: 3, broken: 4, progress: 5 } as const;

const progressBytes = 6;

const Part = z.enum(['hot', 'bulk']);
/** A standby holds some hundred rounds. */
const Names = z.array(RoundName).max(5000);

const Offered = z.object({
  part: Part,
  name: RoundName,
  atMs: z.number().nonnegative(),
  wallMs: z.number().nonnegative(),
  uuid: z.string().min(1).max(64),
  parent: RoundName.nullable(),
});

/** What the host asks. */
export const Question = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('held'), part: Part }),
  z.object({
    kind: z.literal('round'),
    round: Offered,
    pins: Names,
    /** The host goes by what it hears of its progress. One of before does not ask, and would take it for an answer. */
    progress: z.boolean().optional(),
  }),
  /** Which rounds of the hot part it holds, with what people choose by. */
  z.object({ kind: z.literal('dated') }),
  /**
   * That part of that round, back; of the bulk part the round that goes with it. The last question of a connection. `has`: what the
   * host holds of that part itself, from which a difference may start.
   */
  z.object({
    kind: z.literal('give'),
    part: Part,
    name: RoundName,
    has: z.array(z.object({ name: RoundName, uuid: z.string().min(1).max(64) })).max(5000),
  }),
  /** What was given is on the host's disk. */
  z.object({ kind: z.literal('got') }),
]);
export type Question = z.infer<typeof Question>;

/** `wallMs`: by the clock of the host that took it. `version`: GitLab's own note of it in these data, null where there is none. */
export const ToldRound = z.object({
  name: RoundName,
  wallMs: z.number().nonnegative(),
  version: z.string().max(64).nullable(),
});
export type ToldRound = z.infer<typeof ToldRound>;

/** What the standby answers. */
export const Reply = z.discriminatedUnion('kind', [
  /**
   * `progress`: it tells of it when it is asked to. `uuids`: of the rounds, in their order. `gives`: it answers to `dated` and `give`.
   * One of before tells none of them.
   */
  z.object({
    kind: z.literal('held'),
    rounds: Names,
    uuids: z.array(z.string().max(64)).max(5000).optional(),
    progress: z.boolean().optional(),
    gives: z.boolean().optional(),
  }),
  z.object({ kind: z.literal('taken') }),
  z.object({ kind: z.literal('dated'), rounds: z.array(ToldRound).max(5000) }),
  /** It follows as data and an end. */
  z.object({ kind: z.literal('giving'), round: Offered }),
  /** The host holds it already. */
  z.object({ kind: z.literal('same') }),
  z.object({ kind: z.literal('refused'), because: z.string().max(1000) }),
]);
export type Reply = z.infer<typeof Reply>;

export const refused = (error: unknown): Reply => ({ kind: 'refused', because: sentenceOf(error).slice(0, 1000) });

export interface Frame {
  kind: number;
  body: Buffer;
}

/**
 * The next one. Whoever says nothing for so long is gone, whatever its connection says; `who`, of whom that is said. While the disk
 * here is slow it is not its turn.
 */
export async function spoken(
  socket: Duplex,
  frames: AsyncGenerator<Frame>,
  who: string,
): Promise<IteratorResult<Frame, undefined>> {
  const deadline = setTimeout(() => socket.destroy(new Error(`${who} fell silent`)), lineTimings.silentMs);
  try {
    return await frames.next();
  } finally {
    clearTimeout(deadline);
  }
}

/** Sends one frame; returns when the other side has room for more. */
export async function writeFrame(socket: Duplex, kind: number, body: Buffer, signal: AbortSignal): Promise<void> {
  for (let from = 0; from === 0 || from < body.length; from += most.data) {
    const piece = kind === frameKinds.data ? body.subarray(from, from + most.data) : body;
    const head = Buffer.alloc(header);
    head.writeUInt8(kind, 0);
    head.writeUInt32BE(piece.length, 1);
    socket.cork();
    socket.write(head);
    const hasRoom = socket.write(piece);
    socket.uncork();
    if (!hasRoom) await drainOf(socket, signal);
    if (kind !== frameKinds.data) return;
  }
}

/** A connection that is closed, or closes meanwhile without an error, never drains. By hand: signals for each piece were a third of a copy's cost. */
function drainOf(socket: Duplex, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      socket.off('drain', look);
      socket.off('close', look);
      signal.removeEventListener('abort', look);
      if (signal.aborted) reject(signal.reason);
      else if (socket.destroyed) reject(socket.errored ?? new Error('the connection is closed'));
      else resolve();
    };
    if (socket.destroyed || signal.aborted) return look();
    socket.on('drain', look);
    socket.on('close', look);
    signal.addEventListener('abort', look);
  });
}

export const writeWords = (socket: Duplex, words: Question | Reply, signal: AbortSignal): Promise<void> =>
  writeFrame(socket, frameKinds.words, Buffer.from(JSON.stringify(words)), signal);

export function writeProgress(socket: Duplex, total: number): void {
  const frame = Buffer.alloc(header + progressBytes);
  frame.writeUInt8(frameKinds.progress, 0);
  frame.writeUInt32BE(progressBytes, 1);
  frame.writeUIntBE(total, header, progressBytes);
  socket.write(frame);
}

export function progressOf({ body }: Frame): number {
  if (body.length !== progressBytes) throw new Error('a frame of progress has another length');
  return body.readUIntBE(0, progressBytes);
}

/**
 * Frames as they come. Ends with the connection; throws on what is no frame, or on one that is too long. What comes in many
 * pieces is put together once, when all of it is there.
 */
export async function* framesOf(socket: Duplex): AsyncGenerator<Frame> {
  let pieces: Buffer[] = [];
  let bytes = 0;
  let wanted = header;
  for await (const data of socket as AsyncIterable<Buffer>) {
    pieces.push(data);
    bytes += data.length;
    if (bytes < wanted) continue;
    let rest = pieces.length === 1 ? data : Buffer.concat(pieces, bytes);
    wanted = header;
    while (rest.length >= header) {
      const [kind, length] = [rest.readUInt8(0), rest.readUInt32BE(1)];
      if (length > (kind === frameKinds.words ? most.words : most.data)) throw new Error('a frame is longer than any');
      wanted = header + length;
      if (rest.length < wanted) break;
      yield { kind, body: rest.subarray(header, wanted) };
      rest = rest.subarray(wanted);
      wanted = header;
    }
    pieces = rest.length > 0 ? [rest] : [];
    bytes = rest.length;
  }
}
