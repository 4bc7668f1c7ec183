import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import type { NodeId } from '../../../protocol/ids.ts';
import type { HeldRound } from '../../../scheduler/hosting/copies/held-rounds.ts';
import type { Round, RoundPart, RoundSource, Sending, Standby } from '../replica/replica-ports.ts';
import { RoundRefused } from '../replica/replica-problem.ts';
import { type DoorAt, throughDoor } from './door-call.ts';
import { feed } from './feed.ts';
import { type Frame, frameKinds, framesOf, progressOf, Reply, writeWords } from './frames.ts';
import { lineTimings } from './line-options.ts';
import { PoliteSender, RateLimit } from './polite-sender.ts';
import type { Turns } from './turns.ts';

interface Line {
  socket: TLSSocket;
  frames: AsyncGenerator<Frame>;
  /** Its other end tells of its progress. */
  hasProgress: boolean;
}

/** A standby as its host reaches it: a connection of TCP for each part, made when it is needed, and anew when one broke. */
export class CopyLine implements Standby {
  readonly node: NodeId;
  readonly #openDoor: () => Promise<DoorAt>;
  readonly #turns: Turns;
  readonly #limit: RateLimit;
  readonly #lines = new Map<RoundPart, Line>();
  readonly #closed = new AbortController();

  /** `turns`, `limit`: of all standbys together. */
  constructor(node: NodeId, openDoor: () => Promise<DoorAt>, turns: Turns, limit = new RateLimit(null)) {
    this.node = node;
    this.#openDoor = openDoor;
    this.#turns = turns;
    this.#limit = limit;
  }

  async held(part: RoundPart): Promise<HeldRound[]> {
    return this.#with(part, AbortSignal.timeout(lineTimings.answerMs), async (line, signal) => {
      await writeWords(line.socket, { kind: 'held', part }, signal);
      const reply = await nextReply(line.frames);
      if (reply.kind === 'refused') throw new RoundRefused(reply.because);
      if (reply.kind !== 'held') throw new Error('the standby answered something else');
      line.hasProgress = reply.progress === true;
      return reply.rounds.map((name, at) => ({ name, uuid: reply.uuids?.[at] || null }));
    });
  }

  take(round: Round, source: RoundSource, { pins, urgency, signal, told }: Sending): Promise<void> {
    return this.#with(round.part, signal, async ({ socket, frames, hasProgress }) => {
      const turn = this.#turns.begin(urgency);
      const over = new AbortController();
      const isPolite = urgency === 'bulk' || urgency === 'copy';
      const polite = isPolite ? new PoliteSender(this.#limit, hasProgress) : null;
      try {
        await writeWords(socket, { kind: 'round', round, pins: [...pins], progress: hasProgress }, signal);
        // A refusal comes whenever it comes, also in the midst of the stream.
        let [sent, taken] = [0, 0];
        const heard = (bytes: number): void => {
          // By what arrives there a push is given time: who makes it up would hold it for ever.
          if (bytes < taken || bytes > sent) throw new Error('the standby acknowledged what was not sent');
          taken = bytes;
          polite?.acknowledged(bytes);
          told(bytes);
        };
        const answered = nextReply(frames, hasProgress ? heard : null);
        const given = AbortSignal.any([signal, over.signal]);
        const fed = feed(
          socket,
          source,
          given,
          async (bytes) => {
            await turn.ready(given);
            await polite?.ready(bytes, given);
            sent += bytes;
          },
          polite,
        );
        fed.catch(() => {});
        const reply = await Promise.race([answered, fed.then(() => answered)]);
        if (reply.kind === 'refused') throw new RoundRefused(reply.because);
        await fed;
      } finally {
        over.abort(new Error('this round is over'));
        turn.end();
      }
    });
  }

  /** For good, also in the midst of connecting: whoever stops the agent waits for what uses it. */
  close(): void {
    this.#closed.abort(new Error('this connection is given up'));
    for (const { socket } of this.#lines.values()) socket.destroy(new Error('this connection is given up'));
    this.#lines.clear();
  }

  async #with<T>(
    part: RoundPart,
    signal: AbortSignal,
    use: (line: Line, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const line = this.#lines.get(part) ?? (await this.#connect(AbortSignal.any([signal, this.#closed.signal])));
    this.#lines.set(part, line);
    const { socket } = line;
    const give = (): void => void socket.destroy(new Error('it took too long, or was given up'));
    signal.addEventListener('abort', give);
    try {
      signal.throwIfAborted();
      return await use(line, signal);
    } catch (error) {
      // With a reason, or whoever waits for it to drain waits for ever.
      socket.destroy(new Error('this connection is given up'));
      this.#lines.delete(part);
      throw error;
    } finally {
      signal.removeEventListener('abort', give);
    }
  }

  async #connect(given: AbortSignal): Promise<Line> {
    const socket = await throughDoor(await unless(given, this.#openDoor()), given);
    return { socket, frames: framesOf(socket), hasProgress: false };
  }
}

/** What comes of it, unless it is given up before. */
async function unless<T>(given: AbortSignal, coming: Promise<T>): Promise<T> {
  const over = new AbortController();
  const gone = once(given, 'abort', { signal: over.signal }).then(() => Promise.reject(given.reason));
  gone.catch(() => {});
  coming.catch(() => {});
  try {
    given.throwIfAborted();
    return await Promise.race([coming, gone]);
  } finally {
    over.abort();
  }
}

/** What it says of its progress until then goes to whoever sends. */
async function nextReply(
  frames: AsyncGenerator<Frame>,
  heard: ((bytes: number) => void) | null = null,
): Promise<Reply> {
  for (;;) {
    const { value: frame, done } = await frames.next();
    if (done) throw new Error('the standby closed the connection');
    if (frame.kind !== frameKinds.progress) return Reply.parse(JSON.parse(frame.body.toString('utf8')));
    if (heard === null) throw new Error('the standby tells of a progress that nobody asked for');
    heard(progressOf(frame));
  }
}
