import type { RoundName } from '../../../protocol/round-name.ts';
import type { Round, RoundPart, RoundSource } from '../replica/replica-ports.ts';
import { RoundRefused } from '../replica/replica-problem.ts';
import { arriving } from './arrivals.ts';
import { type DoorAt, throughDoor } from './door-call.ts';
import {
  type Frame,
  frameKinds,
  framesOf,
  type Question,
  Reply,
  spoken,
  type ToldRound,
  writeWords,
} from './frames.ts';
import { lineTimings } from './line-options.ts';

interface Wanted {
  part: RoundPart;
  name: RoundName;
  /** What is here of that part: a difference may start from it. */
  has: readonly { name: RoundName; uuid: string }[];
}

/** A machine that holds copies, as a host asks it for what it lacks itself; a connection of TCP for each question. */
export class GiveLine {
  readonly #openDoor: () => Promise<DoorAt>;

  constructor(openDoor: () => Promise<DoorAt>) {
    this.#openDoor = openDoor;
  }

  /** What people choose by: all rounds of the hot part that it holds. */
  dated(given: AbortSignal): Promise<ToldRound[]> {
    return this.#asked(given, async (ask) => {
      const reply = await ask({ kind: 'dated' });
      if (reply.kind !== 'dated') throw new Error('it answered something else');
      return reply.rounds;
    });
  }

  /**
   * That part of it, for `use`, which returns when it is on the disk: only then the other machine hears that it is. False where all of
   * it is here already.
   */
  bring(
    { part, name, has }: Wanted,
    given: AbortSignal,
    use: (round: Round, source: RoundSource) => Promise<void>,
  ): Promise<boolean> {
    return this.#asked(given, async (ask, socket, frames) => {
      const reply = await ask({ kind: 'give', part, name, has: [...has] });
      if (reply.kind === 'same') return false;
      if (reply.kind !== 'giving' || reply.round.part !== part) throw new Error('it answered something else');
      const { round } = reply;
      await arriving(socket, frames, { who: 'it', progress: true }, (source) => use(round, source));
      await writeWords(socket, { kind: 'got' }, given);
      return true;
    });
  }

  /** Throws `RoundRefused` with its own word where it gives none. */
  async #asked<T>(
    given: AbortSignal,
    use: (
      ask: (question: Question) => Promise<Reply>,
      socket: Awaited<ReturnType<typeof throughDoor>>,
      frames: AsyncGenerator<Frame>,
    ) => Promise<T>,
  ): Promise<T> {
    given.throwIfAborted();
    const socket = await throughDoor(await this.#openDoor(), given);
    const give = (): void => void socket.destroy(new Error('it was given up'));
    given.addEventListener('abort', give);
    const frames = framesOf(socket);
    const ask = async (question: Question): Promise<Reply> => {
      await writeWords(socket, question, given);
      const { value: frame, done } = await spoken(socket, frames, 'it');
      if (done) throw new Error('it closed the connection');
      if (frame.kind !== frameKinds.words) throw new Error('it answered something else');
      const reply = Reply.parse(JSON.parse(frame.body.toString('utf8')));
      if (reply.kind === 'refused') throw new RoundRefused(reply.because);
      return reply;
    };
    try {
      const held = await ask({ kind: 'held', part: 'hot' });
      if (held.kind !== 'held') throw new Error('it answered something else');
      if (held.gives !== true)
        throw new RoundRefused('it has an earlier version, which gives no rounds back: update it, then this again');
      return await use(ask, socket, frames);
    } finally {
      given.removeEventListener('abort', give);
      socket.end();
      setTimeout(() => socket.destroy(), lineTimings.answerMs).unref();
    }
  }
}
