import { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { sentenceOf } from '../../../protocol/errors.ts';
import type { RoundPart, RoundTaker } from '../replica/replica-ports.ts';
import { type Frame, frameKinds, framesOf, Question, type Reply, writeProgress, writeWords } from './frames.ts';
import { lineTimings } from './line-options.ts';
import { type CopyDoor, openOnceDoor } from './once-door.ts';

/** A door for one connection of the host's, by which it brings rounds. `signal`: this machine holds copies no more. */
export const openCopyDoor = (taker: RoundTaker, signal: AbortSignal): Promise<CopyDoor> =>
  openOnceDoor((socket) => serve(socket, taker), signal);

async function serve(socket: TLSSocket, taker: RoundTaker): Promise<void> {
  socket.setKeepAlive(true, lineTimings.keepAliveMs);
  // Its progress is small words: none of them waits for the one before it to be acknowledged.
  socket.setNoDelay(true);
  socket.on('error', () => {});
  const { signal } = new AbortController();
  const frames = framesOf(socket);
  for (;;) {
    const { value: frame, done } = await frames.next();
    if (done) return;
    if (frame.kind !== frameKinds.words) throw new Error('no question');
    const question = Question.parse(JSON.parse(frame.body.toString('utf8')));
    if (question.kind === 'held') {
      const reply = await held(taker, question.part);
      await writeWords(socket, reply, signal);
      if (reply.kind === 'refused') return drained(socket, frames);
      continue;
    }
    const reply = await taken(socket, frames, question, taker);
    await writeWords(socket, reply, signal);
    if (reply.kind === 'refused') return drained(socket, frames);
  }
}

async function held(taker: RoundTaker, part: RoundPart): Promise<Reply> {
  try {
    const rounds = await taker.held(part);
    const uuids = rounds.map(({ uuid }) => uuid ?? '');
    return { kind: 'held', rounds: rounds.map(({ name }) => name), uuids, progress: true };
  } catch (error) {
    return { kind: 'refused', because: sentenceOf(error).slice(0, 1000) };
  }
}

/**
 * What of a refused stream is still on its way is nobody's. It is read all the same until the host has hung up: a connection that is
 * closed over unread bytes is reset, and the reason is lost with it.
 */
async function drained(socket: TLSSocket, frames: AsyncGenerator<Frame>): Promise<void> {
  const deadline = setTimeout(() => socket.destroy(), lineTimings.answerMs);
  try {
    for await (const _frame of frames);
  } finally {
    clearTimeout(deadline);
  }
}

/** A host that says nothing for so long is gone, whatever its connection says. While the disk here is slow it is not its turn. */
async function spoken(socket: TLSSocket, frames: AsyncGenerator<Frame>): Promise<IteratorResult<Frame, undefined>> {
  const deadline = setTimeout(() => socket.destroy(new Error('the host fell silent')), lineTimings.silentMs);
  try {
    return await frames.next();
  } finally {
    clearTimeout(deadline);
  }
}

/**
 * What arrived and waits for this machine's disk. Its own pauses are no queue of the way's: what is shorter than this at the
 * speed of a cable is not seen by the sender, who would halve what it sends for each.
 */
export const waitingBytes = 8 << 20;

/** Bytes for a reader that takes them when it can; `put` returns when there is room for more. Leaves nothing behind: a whole copy waits for its disk thousands of times. */
class Arrivals extends Readable {
  #go: () => void = () => {};

  constructor() {
    super({ highWaterMark: waitingBytes });
  }

  override _read(): void {
    this.#go();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#go();
    done(error);
  }

  async put(bytes: Buffer): Promise<void> {
    if (this.destroyed || this.push(bytes)) return;
    await new Promise<void>((resolve) => {
      this.#go = resolve;
    });
  }
}

const unreadBytes = 64 << 10;

async function taken(
  socket: TLSSocket,
  frames: AsyncGenerator<Frame>,
  { round, pins, progress }: Question & { kind: 'round' },
  taker: RoundTaker,
): Promise<Reply> {
  const stream = new Arrivals();
  stream.on('error', () => {});
  let isOver = false;
  let whole: () => void = () => {};
  let broken: (error: Error) => void = () => {};
  const done = new Promise<void>((resolve, reject) => {
    whole = resolve;
    broken = reject;
  });
  done.catch(() => {});
  const breaks = (error: Error): void => {
    broken(error);
    stream.destroy(error);
  };
  const taking = taker
    .take(round, { stream, done, end: () => breaks(new Error('the round is not taken')) }, pins)
    .finally(() => {
      isOver = true;
      stream.destroy();
    });
  taking.catch(() => {});
  let bytes = 0;
  // A host that reads nothing is told nothing: it would all lie here.
  const tell = (): void => {
    if (progress && !isOver && socket.writableLength < unreadBytes) writeProgress(socket, bytes);
  };
  // Also while the disk takes in what arrived: a machine that lives is told from one that lost its power.
  const pulse = setInterval(tell, lineTimings.pulseMs);
  tell();
  const feeding = (async () => {
    while (!isOver) {
      const { value: frame, done: isEnd } = await spoken(socket, frames);
      if (isEnd) return breaks(new Error('the host was cut off'));
      if (frame.kind === frameKinds.end) {
        stream.push(null);
        return whole();
      }
      if (frame.kind !== frameKinds.data) return breaks(new Error('the host broke the round off'));
      bytes += frame.body.length;
      tell();
      await stream.put(frame.body);
    }
  })().catch(breaks);
  try {
    await taking;
    await feeding;
    return { kind: 'taken' };
  } catch (error) {
    return { kind: 'refused', because: sentenceOf(error).slice(0, 1000) };
  } finally {
    clearInterval(pulse);
  }
}
