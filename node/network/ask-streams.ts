import type { Connection, Stream } from '@libp2p/interface';
import type { Answer, Ask } from '../../protocol/asks.ts';
import { checked, encode, parsed } from '../../protocol/codec.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../protocol/ids.ts';
import { JobAnswer, JobAsk, jobAnswerKinds, jobAskKinds } from '../../protocol/job-asks.ts';
import { limits } from '../../protocol/limits.ts';
import { names } from '../../protocol/names.ts';
import { FrameChannel } from './frame-channel.ts';
import type { NetworkLog } from './network-log.ts';

/** So many questions of one node are answered at the same time. Further ones are refused with a sentence. */
const atOncePerNode = 16;
/** ms for a question to arrive after its stream opened. */
const questionMs = 10_000;
/** ms for an answer to be found: longer than any asker waits. */
const answerMs = 60_000;
const askBytes = 64 << 10;

const frames = { queueBytes: limits.frameBytes + 1024 };

/** `/autogit/ask/1`: one question and one answer on a stream of its own, between members. */
export class Asks {
  #answer: (from: NodeId, ask: Ask) => Promise<Answer>;
  #log: NetworkLog;
  #open = new Map<NodeId, number>();
  readonly counters = { badAsks: 0 };

  constructor(log: NetworkLog, answer: (from: NodeId, ask: Ask) => Promise<Answer>) {
    this.#log = log;
    this.#answer = answer;
  }

  /** Handles a stream that a member opened; the gate turns everybody else away. Never throws. */
  async accept(stream: Stream, connection: Connection): Promise<void> {
    const from = connection.remotePeer.toString();
    const channel = new FrameChannel(stream, { ...frames, receiveBytes: askBytes });
    const open = this.#open.get(from) ?? 0;
    this.#open.set(from, open + 1);
    try {
      const frame = await channel.next(questionMs);
      if (!frame) throw new AutogitError('bad-message', channel.ended ?? 'no question came');
      const ask = await asAsk(parsed(frame, askBytes));
      const answer =
        open >= atOncePerNode
          ? refused(`${open} questions of this node are being answered already: ask again in a moment`)
          : await this.#find(from, ask);
      channel.send(this.#encoded(answer));
      // The node that asked closes the stream when it has read the whole answer.
      await channel.next(answerMs);
      channel.close('answered');
    } catch (error) {
      this.counters.badAsks += 1;
      this.#log.warn(
        { event: 'bad-ask', node: from, because: sentenceOf(error) },
        `a question of ${from} was refused: ${sentenceOf(error)}`,
      );
      channel.abort(sentenceOf(error));
    } finally {
      const left = (this.#open.get(from) ?? 1) - 1;
      if (left > 0) this.#open.set(from, left);
      else this.#open.delete(from);
    }
  }

  /** Asks over a connection. Throws `timed-out`, by the name of who was asked, or `bad-message`; a refusal is an answer. */
  async ask(connection: Connection, name: string, ask: Ask, timeoutMs: number): Promise<Answer> {
    let channel: FrameChannel | null = null;
    try {
      const stream = await connection.newStream(names.askStream, { signal: AbortSignal.timeout(timeoutMs) });
      channel = new FrameChannel(stream, { ...frames, receiveBytes: limits.frameBytes });
      channel.send(encode(ask, askBytes));
      const frame = await channel.next(timeoutMs);
      if (!frame)
        throw new AutogitError('timed-out', `${name} did not answer: ${channel.ended ?? `no word in ${timeoutMs} ms`}`);
      return await asAnswer(parsed(frame, limits.frameBytes));
    } catch (error) {
      if (error instanceof AutogitError) throw error;
      throw new AutogitError('timed-out', `${name} could not be asked: ${sentenceOf(error)}`, { cause: error });
    } finally {
      channel?.close('answered');
    }
  }

  async #find(from: NodeId, ask: Ask): Promise<Answer> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<Answer>((resolve) => {
      timer = setTimeout(() => resolve(refused('the answer took too long')), answerMs);
      timer.unref();
    });
    try {
      return await Promise.race([this.#answer(from, ask), late]);
    } catch (error) {
      this.#log.error({ event: 'ask-failed', node: from, because: sentenceOf(error) }, 'a question was not answered');
      return refused(`this node could not answer: ${sentenceOf(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }

  #encoded(answer: Answer): Uint8Array {
    try {
      return encode(answer, limits.frameBytes);
    } catch (error) {
      return encode(refused(sentenceOf(error)), limits.frameBytes);
    }
  }
}

const refused = (because: string): Answer => ({ kind: 'refused', because: asSentence(because) });

const kindOf = (json: unknown): unknown => (json as { kind?: unknown } | null)?.kind;

// What is asked about jobs is a ninth of all questions; the schemas of the others are made with the first of them.
async function asAsk(json: unknown): Promise<Ask> {
  if (jobAskKinds.has(kindOf(json))) return checked(JobAsk, json);
  return checked((await import('../../protocol/asks.ts')).Ask, json);
}

async function asAnswer(json: unknown): Promise<Answer> {
  if (jobAnswerKinds.has(kindOf(json))) return checked(JobAnswer, json);
  return checked((await import('../../protocol/asks.ts')).Answer, json);
}
