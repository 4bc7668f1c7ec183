import type { TLSSocket } from 'node:tls';
import type { RoundGiver } from '../replica/replica-ports.ts';
import { feed } from './feed.ts';
import { type Frame, frameKinds, progressOf, Question, refused, spoken, writeWords } from './frames.ts';
import { PoliteSender, type RateLimit } from './polite-sender.ts';
import type { Turns } from './turns.ts';

/** How a machine that holds copies gives them back. `turns`, `limit`: of all that it sends of GitLab. */
export interface Giving {
  giver: RoundGiver;
  turns: Turns;
  limit: RateLimit;
}

interface Connection {
  socket: TLSSocket;
  frames: AsyncGenerator<Frame>;
  signal: AbortSignal;
}

/** It tells that it lives, and no byte more has arrived there for so long: its disk hangs, and nothing of the round can be thinned here meanwhile. */
const stuckMs = 900_000;

/** One round to the host, over a connection that ends with it. As a whole copy does, it leaves the LAN room. */
export async function given(
  { socket, frames, signal }: Connection,
  { part, name, has }: Question & { kind: 'give' },
  { giver, turns, limit }: Giving,
): Promise<void> {
  let gift: Awaited<ReturnType<RoundGiver['give']>>;
  try {
    gift = await giver.give(part, name, has);
  } catch (error) {
    return writeWords(socket, refused(error), signal);
  }
  const { round, source } = gift;
  if (source === null) return writeWords(socket, { kind: 'same' }, signal);
  const turn = turns.begin(round.parent === null ? 'copy' : 'bulk');
  const polite = new PoliteSender(limit, true);
  const over = new AbortController();
  const gone = (): void => over.abort(new Error('the host hung up'));
  socket.on('close', gone);
  let sent = 0;
  try {
    await writeWords(socket, { kind: 'giving', round }, signal);
    const ready = async (bytes: number): Promise<void> => {
      await turn.ready(over.signal);
      await polite.ready(bytes, over.signal);
      sent += bytes;
    };
    const fed = feed(socket, source, over.signal, ready, polite);
    fed.catch(() => {});
    await Promise.all([fed, heard({ socket, frames, signal }, polite, () => sent)]);
  } finally {
    socket.off('close', gone);
    over.abort(new Error('this round is over'));
    turn.end();
    source.end();
    // While it lives its snapshot cannot be deleted, nor the place be unmounted.
    await source.done.catch(() => {});
    giver.given(gift);
  }
}

/** What the host says of its progress, until it has all of it on its disk. */
async function heard({ socket, frames }: Connection, polite: PoliteSender, sent: () => number): Promise<void> {
  let [taken, movedMs] = [0, performance.now()];
  for (;;) {
    const { value: frame, done } = await spoken(socket, frames, 'the host');
    if (done) throw new Error('the host was cut off');
    if (frame.kind !== frameKinds.progress) {
      if (Question.parse(JSON.parse(frame.body.toString('utf8'))).kind !== 'got') throw new Error('no answer');
      return;
    }
    const bytes = progressOf(frame);
    if (bytes < taken || bytes > sent()) throw new Error('the host acknowledged what was not sent');
    if (bytes > taken) movedMs = performance.now();
    if (performance.now() - movedMs > stuckMs) throw new Error(`nothing moved for ${stuckMs / 1000} s`);
    taken = bytes;
    polite.acknowledged(bytes);
  }
}
