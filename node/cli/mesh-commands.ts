import { userInfo } from 'node:os';
import type { Change } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import { limits } from '../../protocol/limits.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { demandOf } from '../../scheduler/jobs/demand.ts';
import { nearWord } from '../../scheduler/jobs/near-word.ts';
import { whatCopiesTell } from '../../scheduler/membership-sentence.ts';
import { listed } from '../../scheduler/phrases.ts';
import { shown } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { isWay, type Way, ways } from '../settings/give-way.ts';
import { nameFromHost } from '../settings/node-name.ts';
import { parseDuration, showDuration } from '../settings/quantities.ts';
import { wrapped } from '../text-wrap.ts';
import { agentOf, type Context, nodeArgument } from './context.ts';
import { exit } from './failure.ts';
import { sentence } from './output.ts';
import { confirm, hasTerminal, isConfirmed, type PromptOptions } from './prompt.ts';
import { watchLines } from './watching.ts';

export const promptOf = ({ settings }: Context): PromptOptions => ({
  input: settings.isOn('input'),
  yes: settings.isOn('yes'),
});

/** What helps where the mesh refuses. */
const hints: Partial<Record<Change['kind'], string>> = {
  set: 'autogit-node settings --help',
  approve: 'who waits, and with which words: autogit-node status',
};

/** Asks the mesh for a change and says how it ended: exit 0 only when it is committed. */
async function change(context: Context, agent: AgentClient, asked: Change): Promise<number> {
  const outcome = await agent.change(asked);
  if (context.settings.isOn('json')) context.out.json(outcome);
  else if (outcome.state === 'done') sentence(context.out, outcome.because);
  if (outcome.state === 'done') return exit.ok;
  if (outcome.state === 'refused')
    throw new AutogitError('unsupported', outcome.because, {
      hint: hints[asked.kind] ?? 'the mesh is shown by: autogit-node status',
    });
  throw new AutogitError('no-leader', `it is not known whether this was done: ${outcome.because}`, {
    hint: 'ask again after a look at: autogit-node status',
  });
}

const said = async (context: Context, saying: Promise<string>): Promise<number> => {
  const text = await saying;
  if (context.settings.isOn('json')) context.out.json({ said: text });
  else sentence(context.out, text);
  return exit.ok;
};

/** Where GitLab runs nobody reaches it while the agent is away: said to a person, and asked. */
export async function leave(context: Context): Promise<number> {
  const agent = await agentOf(context);
  const prompt = promptOf(context);
  const isAsked = !prompt.yes && (hasTerminal(prompt) || !prompt.input);
  const isMember = isAsked && (await agent.phase()).phase === 'joined';
  const { gitlab, nodes } = isMember ? (await agent.status()).snapshot : { gitlab: null, nodes: [] };
  const self = nodes.find((row) => row.self)?.node;
  const question = 'GitLab runs on this machine, and nobody reaches it while its agent is away. Leave?';
  if (gitlab?.mode === 'hosted' && gitlab.host === self && !(await isConfirmed(question, false, prompt)))
    return exit.failed;
  return said(context, agent.leave());
}

type Waiting = StatusSnapshot['waiting'][number];

/**
 * Lets in what a person has compared, nothing else: with `--words` the mesh compares, without them the person at this
 * terminal does, who is shown name, address and words. A name alone says nothing: whoever knocks chooses it.
 */
export async function approve(context: Context): Promise<number> {
  const agent = await agentOf(context);
  const because = `approved by ${userName()}`;
  const words = asShown(context.settings.text('approve.words'));
  const asked = context.args[0];
  if (words !== null) return change(context, agent, { kind: 'approve', node: asked ?? null, words, because });
  const { snapshot } = await agent.status();
  const row = theOneThatWaits(snapshot, asked);
  if (row === null) return sayMember(context, asked as string);
  if (!(await isCompared(context, row))) throw new AutogitError('not-approved', `${row.node} was not let in`);
  // The words that were on this screen: should it knock again meanwhile, the mesh refuses.
  return change(context, agent, { kind: 'approve', node: row.id, words: row.words, because });
}

/** The four words as screens show them, however they were typed: `Amber fox, lake moon` -> `amber-fox-lake-moon`. */
export const asShown = (words: string | null): string | null =>
  words === null
    ? null
    : words
        .trim()
        .toLowerCase()
        .split(/[\s,-]+/)
        .join('-');

/** Null: a member of the mesh is called so. */
function theOneThatWaits({ waiting, nodes }: StatusSnapshot, asked: string | undefined): Waiting | null {
  const fits = waiting.filter((row) => asked === undefined || [row.node, row.id].includes(asked));
  const [first] = fits;
  if (first && fits.length === 1) return first;
  if (first) {
    const all = fits.map((row) => `${row.node} at ${row.address} (${row.words})`).join(', ');
    throw new AutogitError('bad-flag', `${fits.length} machines wait: ${all}`, { hint: approveCommand(first) });
  }
  if (asked !== undefined && nodes.some((row) => row.state !== 'waiting' && [row.node, row.id].includes(asked)))
    return null;
  if (waiting.length === 0)
    throw new AutogitError('no-mesh', 'no machine waits to be let in', {
      hint: 'on the other machine: autogit-node join',
    });
  const names = waiting.map(({ node }) => node);
  const meant = nameFromHost(asked ?? '');
  const near = names.includes(meant) ? meant : nearWord(meant, names);
  throw new AutogitError('no-mesh', `no machine called ${asked} waits; waiting: ${names.join(', ')}`, {
    hint:
      near === null
        ? 'an ignored one: autogit-node approve NAME --words ITS-FOUR-WORDS'
        : `if you mean ${near}: autogit-node approve ${near}`,
  });
}

const approveCommand = ({ node, words }: Waiting): string => `autogit-node approve ${node} --words ${words}`;

function sayMember(context: Context, name: string): number {
  const because = `${name} is in the mesh already`;
  if (context.settings.isOn('json')) context.out.json({ state: 'done', because });
  else sentence(context.out, because);
  return exit.ok;
}

/** `--yes` answers no question of this kind: its default is no. */
async function isCompared(context: Context, row: Waiting): Promise<boolean> {
  const prompt = { ...promptOf(context), yes: false };
  if (!hasTerminal(prompt))
    throw new AutogitError('no-terminal', `nobody here can compare the words of ${row.node} at ${row.address}`, {
      hint: `read the four words on its screen; if they are ${row.words}: ${approveCommand(row)}`,
    });
  return confirm(`${row.node} at ${row.address} shows   ${row.words}   Does its screen say the same?`, false, prompt);
}

function userName(): string {
  try {
    return userInfo().username.slice(0, 64);
  } catch {
    return 'a user of the machine';
  }
}

const changing =
  (make: (context: Context) => Change) =>
  async (context: Context): Promise<number> =>
    change(context, await agentOf(context), make(context));

export const ignore = changing((context) => ({ kind: 'ignore', node: nodeArgument(context) }));

export async function drain(context: Context): Promise<number> {
  const agent = await agentOf(context);
  const code = await change(context, agent, { kind: 'drain', node: nodeArgument(context), drained: true });
  const snapshot = (await agent.status()).snapshot;
  sayHostsOn(
    context,
    snapshot,
    snapshot.nodes.find(({ node, id }) => [node, id].includes(nodeArgument(context)))?.node,
  );
  return code;
}

/** Whoever has jobs kept from that machine may think that GitLab goes, too. */
function sayHostsOn({ out }: Context, { gitlab }: StatusSnapshot, node: string | undefined): void {
  if (gitlab.mode === 'hosted' && node !== undefined && node === gitlab.host)
    out.talk(`# GitLab goes on running on ${node}   -> autogit-node gitlab`);
}

export const undrain = changing((context) => ({ kind: 'drain', node: nodeArgument(context), drained: false }));

/** Who owns a machine that held copies of GitLab knows what was in them; also one that was named, and held some once. */
async function copiesOn(agent: AgentClient, { gitlab, nodes }: StatusSnapshot, wanted: string): Promise<string> {
  if (gitlab.mode !== 'hosted') return '';
  const name = nodes.find(({ node, id }) => [node, id].includes(wanted))?.node;
  const copy = gitlab.standbys?.find(({ node }) => node === name);
  const { agreed } = await agent.gitlabCopies();
  if (copy === undefined && !(name !== undefined && agreed.includes(name))) return '';
  const age = copy?.ageMs == null ? '' : ` (its copy is ${showDuration(copy.ageMs)} old)`;
  return ` It ${copy === undefined ? 'may hold' : 'holds'} ${whatCopiesTell}${age}.`;
}

/** What it served of GitLab beside a mesh that was recovered by force, and nobody has looked at: pushes are taken again without that. */
function sidesOn({ gitlab, nodes }: StatusSnapshot, wanted: string): string {
  const name = nodes.find(({ node, id }) => [node, id].includes(wanted))?.node;
  const own = (gitlab.sides ?? []).filter(({ node }) => node === name);
  if (own.length === 0) return '';
  const kept = listed(own.map((one) => one.name));
  return ` Nobody has looked at ${kept} there, which GitLab served beside this mesh: what is in it alone is given up, and pushes are taken again.`;
}

/** For good, so a person on a terminal is asked. */
export async function forget(context: Context): Promise<number> {
  const agent = await agentOf(context);
  const prompt = promptOf(context);
  const { snapshot } = await agent.status();
  const { nodes } = snapshot;
  const self = nodes.find((row) => row.self && [row.node, row.id].includes(nodeArgument(context)));
  if (self)
    throw new AutogitError('unsupported', `${self.node} is this machine`, {
      hint: 'to remove it, type forget on another machine; to end its agent: autogit-node leave',
    });
  const holds = await copiesOn(agent, snapshot, nodeArgument(context));
  const question = `Remove ${nodeArgument(context)} for good? It must be let in again to come back.${holds}${sidesOn(snapshot, nodeArgument(context))}`;
  if (!(await isConfirmed(question, false, prompt))) return exit.failed;
  const here = nodes.find((row) => row.self)?.node;
  const by = here === undefined ? userName() : `${userName()} on ${here}`;
  return change(context, agent, { kind: 'forget', node: nodeArgument(context), by });
}

export async function invite(context: Context): Promise<number> {
  const { out, settings } = context;
  const forMs = settings.number('inviteFor') ?? 900_000;
  if (forMs < limits.inviteLeastMs || forMs > limits.inviteMostMs)
    throw new AutogitError('bad-flag', `an invite is good for 10 s to 7 days, not for ${showDuration(forMs)}`, {
      hint: 'autogit-node invite --for 15m',
    });
  const agent = await agentOf(context);
  const answer = await agent.invite(forMs);
  if (settings.isOn('json')) out.json({ code: answer.code, expiresAt: new Date(answer.expiresAt).toISOString() });
  else {
    // In a variable: what stands on a command line is read by every user of that machine for as long as the agent runs.
    out.data(out.isTerminal ? `AUTOGIT_INVITE=${answer.code} autogit-node join` : answer.code);
    const address = (await agent.status()).snapshot.nodes.find((row) => row.self)?.address ?? null;
    const elsewhere = address === null ? '' : `; where multicast does not work add --peer ${address}`;
    out.talk(`good for one machine, for ${showDuration(answer.expiresAt - Date.now())}${shown(elsewhere)}`);
  }
  return exit.ok;
}

export async function pause(context: Context): Promise<number> {
  const { settings } = context;
  const forMs = settings.number('pause.for');
  // A bare number is seconds; who writes `--for 5` means something else.
  if (forMs !== null && forMs < 60_000)
    throw new AutogitError('bad-flag', `--for: ${showDuration(forMs)} is no pause worth having; write 5m, 2h or 1d`, {
      hint: 'autogit-node pause --for 2h',
    });
  const now = wantedNow(context);
  const agent = await agentOf(context);
  const isGpu = settings.isOn('pause.gpu');
  const running = settings.isOn('json') && now === null ? [] : await runningHere(agent);
  const usesGpu = ({ tags }: JobRow): boolean => demandOf(tags, 'amd64').gpus > 0;
  if (now !== null) {
    const { jobs } = running.length === 0 ? { jobs: [] } : await agent.pausePlan(isGpu ? 'gpu' : 'all', now);
    const wayOf = (row: JobRow): Way | null => jobs.find(({ job }) => job === row.job)?.way ?? null;
    for (const row of running) context.out.talk(wayWords(row, wayOf(row)));
    const ending = running.filter((row) => wayOf(row) === 'end');
    const prompt = promptOf(context);
    const question = `End ${ending.length === 1 ? 'this job' : `these ${ending.length} jobs`} now?`;
    if (ending.length > 0 && !(await isConfirmed(question, true, prompt))) return exit.failed;
  }
  const code = await said(context, agent.pause(isGpu ? 'gpu' : 'all', forMs, now));
  const busy = isGpu ? running.filter(usesGpu) : running;
  if (now === null) for (const row of busy) context.out.talk(goesOnWords(row, isGpu));
  if (isGpu && (await isWithoutEffect(agent)))
    context.out.talk('# this machine has no GPU that jobs could use: they still come   -> autogit-node pause');
  const { snapshot } = await agent.status();
  if (!isGpu) sayHostsOn(context, snapshot, snapshot.seenFrom);
  return code;
}

/** `--now`, and how where it was said. Throws `bad-flag`. */
function wantedNow({ settings }: Context): true | Way | null {
  const now = settings.get('pause.now');
  if (typeof now !== 'string') return now === true ? true : null;
  if (isWay(now)) return now;
  throw new AutogitError('bad-flag', `--now ${now}: it is one of ${ways.join(', ')}, or nothing`, {
    hint: 'autogit-node pause --gpu --now',
  });
}

/** Of a pause of the GPU: there is none, and nothing else is paused. False also where nobody knows. */
async function isWithoutEffect(agent: AgentClient): Promise<boolean> {
  if ((await agent.phase()).phase !== 'joined') return false;
  const self = (await agent.status()).snapshot.nodes.find((node) => node.self);
  return self?.capacity?.gpus.length === 0 && self.paused !== 'all';
}

/** Jobs that this machine has now. */
async function runningHere(agent: AgentClient): Promise<JobRow[]> {
  if ((await agent.phase()).phase !== 'joined') return [];
  const self = (await agent.status()).snapshot.nodes.find((node) => node.self);
  return (await agent.jobs(false)).filter(({ job }) => self?.runs.includes(job));
}

/** A pause keeps new work away; what runs goes on, and its owner should know what that is. */
const goesOnWords = ({ job, name }: JobRow, isGpu: boolean): string =>
  `# job ${job} (${shown(name)}) still ${isGpu ? 'uses a GPU' : 'runs'} here, and goes on to its end   -> autogit-node pause${isGpu ? ' --gpu' : ''} --now`;

const doing: Record<Exclude<Way, 'end'>, string> = {
  finish: 'goes on to its end',
  freeze: 'stands still until the pause ends, and keeps its memory; its time at GitLab goes on',
  suspend:
    'stands still until the pause ends, what it has in GPU memory moves into main memory where it can; its time at GitLab goes on',
  'suspend/end':
    'stands still until the pause ends where what it has in GPU memory can move into main memory, else it ends; its time at GitLab goes on',
};

/** Null: it is in nobody's way. */
function wayWords({ job, name, startedAt }: JobRow, way: Way | null): string {
  if (way === null) return `# job ${job} (${shown(name)}) needs no GPU and goes on`;
  if (way !== 'end') return `# job ${job} (${shown(name)}) ${doing[way]}`;
  const age = startedAt === null ? '' : ` after ${showDuration(Math.max(0, Date.now() - Date.parse(startedAt)))}`;
  return `# job ${job} (${shown(name)}) ends${age}, its after_script still runs; then it runs again, elsewhere where it can, else here after resume`;
}

export const resume = async (context: Context): Promise<number> =>
  said(context, (await agentOf(context)).resume(context.settings.isOn('resume.gpu') ? 'gpu' : 'all'));

const meshSettings = ['retryLost', 'defaultArch', 'graceMs', 'inSyncGraceMs', 'failover', 'silentMs'] as const;
type MeshSetting = (typeof meshSettings)[number];

/** What each means, for people. */
const meanings: Record<string, string> = {
  retryLost:
    "does the mesh itself run a job again whose machine was lost, or failed it in its script? (off: only GitLab's `retry:`)",
  defaultArch: 'architecture of jobs whose tags name none',
  graceMs: 'how long the host of GitLab may be silent before another takes over',
  inSyncGraceMs: 'the same where that other is in sync',
  failover: 'does GitLab go on elsewhere by itself when its host is silent?',
  silentMs: 'how long a silent machine keeps its jobs at least',
};

function settingValue(key: MeshSetting, text: string): boolean | number | string {
  if (key === 'defaultArch') {
    if (['amd64', 'arm64', 'riscv64'].includes(text)) return text;
    throw new AutogitError('bad-flag', `defaultArch is amd64, arm64 or riscv64, not "${text}"`);
  }
  if (key.endsWith('Ms')) {
    if (!/^\d+$/.test(text)) return parseDuration(text);
    if (text.length < 4 && Number(text) > 0)
      throw new AutogitError('bad-flag', `${key} ${text} would be ${text} ms: write the unit`, {
        hint: `autogit-node settings ${key} ${text}s`,
      });
    return Number(text);
  }
  if (['on', 'true', 'yes', '1'].includes(text)) return true;
  if (['off', 'false', 'no', '0'].includes(text)) return false;
  throw new AutogitError('bad-flag', `${key} is on or off, not "${text}"`);
}

export async function settings(context: Context): Promise<number> {
  const [key, value] = context.args;
  if (key !== undefined && !(meshSettings as readonly string[]).includes(key))
    throw new AutogitError('bad-flag', `the mesh has no setting "${key}"`, {
      hint: `one of ${meshSettings.join(', ')}`,
    });
  if (value !== undefined) {
    const known = key as MeshSetting;
    const asked: Change = { kind: 'set', key: known, value: settingValue(known, value) };
    return change(context, await agentOf(context), asked);
  }
  if (context.settings.isOn('settings.watch')) return watchSettings(context, key);
  showSettings(context, (await (await agentOf(context)).settings()).settings, key);
  return exit.ok;
}

/** Once, and again as soon as they change. */
function watchSettings(context: Context, key: string | undefined): Promise<number> {
  let [tag, before] = ['', ''];
  return watchLines(context, async (agent, isAnew) => {
    const answer = await agent.settings(isAnew ? undefined : { tag, waitMs: 1000 });
    const now = JSON.stringify(answer.settings);
    if (now !== before) showSettings(context, answer.settings, key);
    [tag, before] = [answer.tag, now];
  });
}

function showSettings({ out, settings }: Context, all: object, key: string | undefined): void {
  const rows = Object.entries(all).filter(([name]) => key === undefined || name === key);
  if (settings.isOn('json')) out.json(Object.fromEntries(rows));
  else if (!out.isTerminal)
    for (const [name, value] of rows) out.data(key === undefined ? `${name}\t${value}` : String(value));
  else
    for (const [name, value] of rows) {
      const isTime = name.endsWith('Ms');
      const text = isTime ? showDuration(Number(value)) : typeof value === 'boolean' ? (value ? 'on' : 'off') : value;
      const head = `${name} = ${text}`.padEnd(28);
      const lines = wrapped(meanings[name] ?? '', Math.max(24, out.columns - head.length));
      out.data(lines.map((line, at) => `${at === 0 ? head : ' '.repeat(head.length)}${line}`.trimEnd()).join('\n'));
    }
}
