import type { TLSSocket } from 'node:tls';
import type { RoundGiver, RoundPart, RoundTaker } from '../replica/replica-ports.ts';
import { arriving } from './arrivals.ts';
import { type Frame, frameKinds, framesOf, Question, type Reply, refused, writeWords } from './frames.ts';
import { type Giving, given } from './giving.ts';
import { lineTimings } from './line-options.ts';
import { type CopyDoor, openOnceDoor } from './once-door.ts';

/**
 * A door for one connection of the host's, by which it brings rounds, or has one given back. `signal`: this machine holds copies no
 * more. `giving` null: it gives none.
 */
export const openCopyDoor = (taker: RoundTaker, signal: AbortSignal, giving: Giving | null = null): Promise<CopyDoor> =>
  openOnceDoor((socket) => serve(socket, taker, giving), signal);

async function serve(socket: TLSSocket, taker: RoundTaker, giving: Giving | null): Promise<void> {
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
      const reply = await held(taker, question.part, giving !== null);
      await writeWords(socket, reply, signal);
      if (reply.kind === 'refused') return drained(socket, frames);
      continue;
    }
    if (question.kind === 'round') {
      const reply = await taken(socket, frames, question, taker);
      await writeWords(socket, reply, signal);
      if (reply.kind === 'refused') return drained(socket, frames);
      continue;
    }
    if (giving === null || question.kind === 'got') throw new Error('no question');
    if (question.kind === 'dated') await writeWords(socket, await dated(giving.giver), signal);
    else return given({ socket, frames, signal }, question, giving);
  }
}

async function held(taker: RoundTaker, part: RoundPart, gives: boolean): Promise<Reply> {
  try {
    const rounds = await taker.held(part);
    const uuids = rounds.map(({ uuid }) => uuid ?? '');
    return { kind: 'held', rounds: rounds.map(({ name }) => name), uuids, progress: true, gives };
  } catch (error) {
    return refused(error);
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

async function taken(
  socket: TLSSocket,
  frames: AsyncGenerator<Frame>,
  { round, pins, progress = false }: Question & { kind: 'round' },
  taker: RoundTaker,
): Promise<Reply> {
  try {
    await arriving(socket, frames, { who: 'the host', progress }, (source) => taker.take(round, source, pins));
    return { kind: 'taken' };
  } catch (error) {
    return refused(error);
  }
}

async function dated(giver: RoundGiver): Promise<Reply> {
  try {
    return { kind: 'dated', rounds: await giver.dated() };
  } catch (error) {
    return refused(error);
  }
}
