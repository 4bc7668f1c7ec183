import { setTimeout } from 'node:timers/promises';
import type { AgentClient } from '../local-api/socket-client.ts';
import { homesToSearch, type Settings } from '../settings/settings.ts';
import type { Context } from './context.ts';
import { exit } from './failure.ts';

/** What only the agent knows, and a person would otherwise copy from `status` or `jobs`. */
type WordKind =
  | 'nodes'
  | 'waiting'
  | 'jobs'
  | 'keepers'
  | 'fenced'
  | 'backups'
  | 'keys'
  | 'told'
  | 'tellable'
  | 'entries';

/** ms; a person has pressed TAB and waits. */
const deadlineMs = 300;
const wordsMost = 200;

/** What takes which: by the name of a command's argument, and of a flag's value. */
export function kindOf(command: { path: string; args?: string }): WordKind | null {
  const name = /^[<[](\w+)/.exec(command.args ?? '')?.[1];
  if (name === 'job' || name === 'id') return 'jobs';
  if (name === 'backup') return 'backups';
  if (name === 'key' && command.path === 'dashboard key-remove') return 'keys';
  if (command.path === 'gitlab fenced drop') return 'fenced';
  if (command.path === 'notify add') return 'tellable';
  if (command.path === 'runbook') return 'entries';
  if (command.path.startsWith('notify ') && name === 'name') return 'told';
  if (name !== 'node') return null;
  return ['approve', 'ignore'].includes(command.path) ? 'waiting' : 'nodes';
}
const ofFlags: Readonly<Record<string, WordKind>> = {
  'logs.node': 'nodes',
  'recover.off': 'nodes',
  'gitlab.on': 'nodes',
  'gitlab.copies': 'nodes',
  'gitlab.to': 'keepers',
};
export const kindOfFlag = (key: string): WordKind | null => ofFlags[key] ?? null;

const fencedOf = async (agent: AgentClient): Promise<[word: string, help: string][]> =>
  ((await agent.status()).snapshot.gitlab.fenced ?? []).map(({ name, node }) => [name, `kept by ${node}`]);

type Source = (agent: AgentClient) => Promise<[word: string, help: string][]>;

/** What needs no agent. */
const ownSources: Partial<Record<WordKind, () => ReturnType<Source>>> = {
  entries: async () => {
    const { namesIn, readRunbook } = await import('../metrics/runbook.ts');
    return ['list', ...namesIn(readRunbook())].map((name) => [name, 'what it means']);
  },
  tellable: async () => {
    const { targetKinds } = await import('../notices/notice-target.ts');
    return Object.keys(targetKinds).map((kind) => [kind, 'tell by it']);
  },
};

const sources: Partial<Record<WordKind, Source>> = {
  nodes: async (agent) => (await agent.status()).snapshot.nodes.map(({ node, state }) => [node, state]),
  // A folder is the shell's own to complete: it does, where no word of these fits.
  keepers: async (agent) =>
    (await agent.status()).snapshot.nodes.flatMap(({ node, self, state }): [string, string][] =>
      self ? [] : [[`node:${node}`, state]],
    ),
  waiting: async (agent) => (await agent.status()).snapshot.waiting.map(({ node, words }) => [node, words]),
  fenced: fencedOf,
  keys: async (agent) => (await agent.pageKeys()).map(({ name, kind, role }) => [name, `${kind}, ${role}`]),
  told: async (agent) => (await agent.notices()).rows.map(({ name, kind }) => [name, kind]),
  backups: async (agent) => [
    ...(await fencedOf(agent)),
    ...(await agent.gitlabBackups()).rows.map(({ id, because }): [string, string] => [id, because]),
  ],
  jobs: async (agent) => (await agent.jobs(true)).map(({ job, state, name }) => [String(job), `${state} ${name}`]),
};

function asking(kind: WordKind, settings: Settings): ReturnType<Source> | null {
  const own = Object.hasOwn(ownSources, kind) ? ownSources[kind] : undefined;
  if (own !== undefined) return own();
  const source = Object.hasOwn(sources, kind) ? sources[kind] : undefined;
  if (source === undefined) return null;
  return import('../local-api/socket-client.ts').then(({ findAgent }) => source(findAgent(homesToSearch(settings))));
}

/** Hidden: `__complete KIND`, a word a line and, behind a tab, what it is. Never an error, and never for long. */
export async function words({ args, out, settings }: Context): Promise<number> {
  const asked = asking(args[0] as WordKind, settings);
  if (asked === null) return exit.ok;
  const found = await Promise.race([asked.catch(() => []), setTimeout(deadlineMs, [], { ref: false })]);
  const clean = found.filter(([word]) => /^(node:)?[\w.-]+$/.test(word)).slice(0, wordsMost);
  if (clean.length > 0) out.data(clean.map(([word, help]) => `${word}\t${help.replace(/\s+/g, ' ')}`).join('\n'));
  return exit.ok;
}
