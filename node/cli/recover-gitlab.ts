import { lookup } from 'node:dns/promises';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { asSentence } from '../../protocol/ids.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { showDuration } from '../settings/quantities.ts';
import type { Context } from './context.ts';
import { gitlabHint, requireDone } from './failure.ts';
import { promptOf } from './mesh-commands.ts';
import { confirm, hasTerminal } from './prompt.ts';

/** The mesh's GitLab as a machine sees it that is about to go on alone. */
interface GitlabLeft {
  data: string;
  epoch: number;
  host: string;
  self: string;
  /** Of the copy here; null: there is none, or nobody knows how old it is. */
  copyAgeMs: number | null;
  hasCopy: boolean;
  /** Of its host's own address and GitLab's, host:port: where something takes a connection, and where nothing does. */
  answers: string[];
  silent: string[];
}

/** ms for one connection within a LAN. */
const knockMs = 2_000;

/** Null where no other machine hosts a GitLab. */
export async function gitlabLeft({ gitlab, nodes, seenFrom: self }: StatusSnapshot): Promise<GitlabLeft | null> {
  const { host, url, epoch, hosted, standbys } = gitlab;
  if (gitlab.mode !== 'hosted' || host === null || host === self || hosted?.data === undefined) return null;
  const own = nodes.find(({ node }) => node === host)?.address ?? null;
  const doors = [...new Set([...(own === null ? [] : [own]), ...(url === null ? [] : [doorOf(url)])])];
  const found = await Promise.all(doors.map(async (door) => ({ door, isTaken: await answersAt(door) })));
  const copy = standbys?.find(({ node }) => node === self);
  return {
    ...{ data: hosted.data, epoch, host, self },
    ...{ copyAgeMs: copy?.ageMs ?? null, hasCopy: copy !== undefined && copy.round !== null },
    answers: found.flatMap(({ door, isTaken }) => (isTaken === true ? [door] : [])),
    silent: found.flatMap(({ door, isTaken }) => (isTaken === false ? [door] : [])),
  };
}

function doorOf(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;
}

/** Null where it leads to this machine itself, whose own forwarder would answer. */
async function answersAt(door: string): Promise<boolean | null> {
  const at = door.lastIndexOf(':');
  const host = door.slice(0, at).replace(/^\[|\]$/g, '');
  const known = await lookup(host).catch(() => null);
  if (known === null) return false;
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  if (own.some(({ address }) => address === known.address)) return null;
  return new Promise((resolve) => {
    const socket = connect({ host: known.address, port: Number(door.slice(at + 1)), timeout: knockMs });
    const end = (isTaken: boolean) => (): void => {
      socket.destroy();
      resolve(isTaken);
    };
    socket.once('connect', end(true)).once('timeout', end(false)).once('error', end(false));
  });
}

/** To a person, before anything is confirmed. */
export function gitlabWords(left: GitlabLeft): string[] {
  const { host, hasCopy, answers, silent } = left;
  const copy = hasCopy
    ? `The copy of it here is ${ageWords(left)}: what was written later is on ${host} alone.`
    : 'There is no copy of it here.';
  const known = `GitLab runs on ${host}, by what this machine knows (epoch ${left.epoch}). ${copy}`;
  if (answers.length > 0) return [known, `But ${answers.join(' and ')} answers: ${host} may be on, and serve it.`];
  return silent.length > 0 ? [known, `Nothing answers at ${silent.join(' or ')}.`] : [known];
}

const ageWords = ({ copyAgeMs }: GitlabLeft): string =>
  copyAgeMs === null ? 'of an unknown age' : `${showDuration(Math.round(copyAgeMs / 1000) * 1000)} old`;

/** Whether GitLab goes on at this machine, in the words of the answer. */
interface Started {
  isStarted: boolean;
  because: string;
}

/** GitLab is started here by a question of its own, whose answer is no: its host may be seen off, and come back tomorrow. */
export async function startHere(context: Context, agent: AgentClient, left: GitlabLeft): Promise<Started> {
  const { host, self, hasCopy, answers, data, epoch } = left;
  const waits = (because: string): Started => ({ isStarted: false, because });
  if (!hasCopy)
    return waits(`GitLab waits for ${host}. Is that gone for good: a backup, or autogit-node gitlab uninstall`);
  const later = `autogit-node gitlab take-over ${self}`;
  if (answers.length > 0)
    return waits(`GitLab is not started here, as ${answers.join(' and ')} answers. Once that is off: ${later}`);
  const prompt = promptOf(context);
  if (!hasTerminal(prompt) || prompt.yes)
    return waits(`GitLab is not started here by that; to have it go on here: ${later}`);
  const question = `Start GitLab here, from its copy, which is ${ageWords(left)}? If ${host} comes back, what it had later is kept there, and is not in what goes on.`;
  if (!(await confirm(question, false, prompt))) return waits(`GitLab waits for ${host}. Later: ${later}`);
  const because = asSentence(`a person said so on ${self}, which goes on alone`);
  const outcome = await agent.change({ kind: 'start-gitlab-at', data, epoch, to: self, because });
  requireDone(outcome, gitlabHint);
  return { isStarted: true, because: 'GitLab goes on here: autogit-node gitlab' };
}
