import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { z } from 'zod';
import { AutogitError, type ErrorCode } from '../../protocol/errors.ts';
import { places } from '../store/home.ts';
import { readRemoval, removedSentence } from '../store/removal.ts';
import { agentProcess, silentAgent } from './agent-process.ts';
import { pidHeader } from './socket-caller.ts';
import { Failure } from './socket-protocol.ts';
import { socketVersion, versionHeader } from './socket-queries.ts';

/** ms; the agent itself gives up on the leader sooner. A blocked status adds its own wait. */
const timeoutMs = 60_000;
/** After so long without a word, and again and again, it is asked whether the agent is there at all. */
const silentMs = 2_000;
const missesMost = 3;

const anothersHint = 'use sudo, or for a system service be in its group, autogit-node';

export const ofAnotherUser = (path: string, cause?: Error): AutogitError =>
  new AutogitError('no-agent', `${path} belongs to another user`, { cause, hint: anothersHint });

/** Whether an agent runs there this user cannot see. */
export const isOfAnotherUser = ({ hint }: AutogitError): boolean => hint === anothersHint;

/** One question to the agent of that home; its answer is checked. Throws `bad-message`. */
export const askOf =
  (home: string) =>
  async <S extends z.ZodType>(schema: S, method: 'GET' | 'POST', path: string, body?: unknown, extraMs = 0) => {
    const answer = await openCall(home, method, path, body, timeoutMs + extraMs);
    const parsed = schema.safeParse(jsonOf(await textOf(answer)));
    if (parsed.success)
      return { value: parsed.data as z.output<S>, tag: answer.headers.etag?.replaceAll('"', '') ?? '' };
    throw new AutogitError('bad-message', `the agent's answer to ${path} has an unknown form`, {
      hint: 'the command and the agent are of different versions: restart the agent',
    });
  };

/** Sends one request; resolves with the answer when it is a good one, throws what the agent said otherwise. */
export function openCall(
  home: string,
  method: 'GET' | 'POST',
  path: string,
  body: unknown,
  limitMs: number | null,
  signal?: AbortSignal,
): Promise<IncomingMessage> {
  const text = body === undefined ? null : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const { socket } = places(home);
    const sent = request({
      socketPath: socket,
      method,
      path,
      agent: false,
      headers: {
        [versionHeader]: socketVersion,
        [pidHeader]: String(process.pid),
        ...(text === null ? {} : { 'content-type': 'application/json' }),
      },
      ...(signal ? { signal } : {}),
    });
    const silence = watchSilence(home, sent);
    sent.once('close', silence);
    if (limitMs !== null)
      sent.setTimeout(limitMs, () => sent.destroy(new AutogitError('timed-out', 'the agent did not answer')));
    sent.once('error', (error) => {
      const removal = readRemoval(home);
      reject(removal ? new AutogitError('removed', removedSentence(removal)) : asNoAgent(socket, error));
    });
    sent.once('response', (answer) => {
      silence();
      if (answer.statusCode === 200) return resolve(answer);
      textOf(answer).then((failed) => reject(toError(failed, answer.statusCode ?? 0)), reject);
    });
    sent.end(text ?? undefined);
  });
}

/**
 * A change may take seconds, a blocked `status` as long as was asked for. So an agent that is silent is asked for something
 * that it can say at once: one that is stopped is named at once, one that says nothing at all after a few times. What is
 * returned ends the watch.
 */
function watchSilence(home: string, sent: ClientRequest): () => void {
  let misses = 0;
  const timer = setInterval(() => void look(), silentMs).unref();
  const look = async (): Promise<void> => {
    const isStopped = agentProcess(home)?.state === 'T';
    if (!isStopped) misses = (await says(home)) ? 0 : misses + 1;
    if (sent.destroyed || (!isStopped && misses < missesMost)) return;
    const { sentence, hint } = silentAgent(home);
    sent.destroy(new AutogitError('timed-out', sentence, { hint }));
  };
  return () => clearInterval(timer);
}

/** Does it answer anything? Only the first bytes of an answer are waited for. */
function says(home: string): Promise<boolean> {
  return new Promise((resolve) => {
    const headers = { [versionHeader]: socketVersion };
    const sent = request({ socketPath: places(home).socket, path: '/v1/phase', agent: false, headers });
    sent.setTimeout(silentMs, () => sent.destroy());
    sent.once('error', () => resolve(false));
    sent.once('close', () => resolve(false));
    sent.once('response', (answer) => {
      answer.resume();
      resolve(true);
    });
    sent.end();
  });
}

function asNoAgent(socket: string, error: Error): Error {
  if (error instanceof AutogitError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'EACCES') return ofAnotherUser(socket, error);
  return new AutogitError('no-agent', `no agent answers on ${socket}`, { cause: error });
}

/** Null for what is no JSON: no schema of ours takes that. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function toError(text: string, status: number): Error {
  const parsed = Failure.safeParse(jsonOf(text));
  if (!parsed.success) return new AutogitError('bad-message', `the agent answered ${status}`);
  const { code, message, hint } = parsed.data.error;
  if (code === 'internal') return new Error(message);
  return new AutogitError(code as ErrorCode, message, { hint });
}

async function textOf(answer: IncomingMessage): Promise<string> {
  answer.setEncoding('utf8');
  let text = '';
  for await (const part of answer as AsyncIterable<string>) text += part;
  return text;
}
