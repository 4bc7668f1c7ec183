import { ways } from './give-way.ts';
import type { Flag } from './settings-flag.ts';
import { gitlabFlags } from './settings-gitlab.ts';
import { historyFlags } from './settings-history.ts';
import { joinFlags } from './settings-join.ts';
import { notifyFlags } from './settings-notify.ts';
import { pageFlags } from './settings-page.ts';

export type { Flag } from './settings-flag.ts';

/**
 * Every flag of every command, once: from this table come the command line, the AUTOGIT_ variables, the keys of
 * autogit.yml, the help and the shell completion. A test proves that they agree.
 */
const globals: Flag[] = [
  {
    key: 'home',
    name: 'home',
    kind: 'text',
    value: 'DIR',
    commands: ['*'],
    help: "one agent's whole state: identity, store, socket, logs",
  },
  { key: 'config', name: 'config', kind: 'text', value: 'FILE', commands: ['*'], help: 'another autogit.yml' },
  { key: 'json', name: 'json', kind: 'switch', commands: ['*'], help: 'JSON on stdout' },
  { key: 'color', name: 'color', kind: 'switch', default: true, commands: ['*'], help: 'no colour' },
  { key: 'input', name: 'input', kind: 'switch', default: true, commands: ['*'], help: 'never ask; fail instead' },
  { key: 'yes', name: 'yes', kind: 'switch', commands: ['*'], help: 'ask nothing: the command is meant as it stands' },
  { key: 'quiet', name: 'quiet', short: 'q', kind: 'switch', commands: ['*'], help: 'say only what was asked for' },
  {
    key: 'verbose',
    name: 'verbose',
    short: 'v',
    kind: 'switch',
    commands: ['*'],
    help: 'say more; debug lines in agent.log',
  },
];

const others: Flag[] = [
  {
    key: 'status.watch',
    name: 'watch',
    short: 'w',
    kind: 'optional',
    value: 's',
    commands: ['status'],
    help: 'keep showing',
  },
  {
    key: 'status.output',
    name: 'output',
    short: 'o',
    kind: 'choice',
    choices: ['wide', 'json'],
    value: 'FORM',
    commands: ['status'],
    help: 'wide: more columns; json: as --json',
  },
  {
    key: 'status.exitStatus',
    name: 'exit-status',
    kind: 'switch',
    commands: ['status'],
    help: 'exit 5 when something is unhealthy',
  },
  {
    key: 'settings.watch',
    name: 'watch',
    short: 'w',
    kind: 'switch',
    commands: ['settings'],
    help: 'again as soon as they change',
  },
  {
    key: 'jobs.watch',
    name: 'watch',
    short: 'w',
    kind: 'optional',
    value: 's',
    commands: ['jobs'],
    help: 'keep showing',
  },
  { key: 'jobs.all', name: 'all', kind: 'switch', commands: ['jobs'], help: 'finished ones too' },
  { key: 'logs.follow', name: 'follow', short: 'f', kind: 'switch', commands: ['logs'], help: 'go on until it ends' },
  { key: 'logs.node', name: 'node', kind: 'text', value: 'NAME', commands: ['logs'], help: "another machine's log" },
  {
    key: 'cancel.force',
    name: 'force',
    kind: 'switch',
    commands: ['cancel'],
    help: 'end also one that is canceling already: its after_script is cut',
  },
  {
    key: 'approve.words',
    name: 'words',
    kind: 'text',
    value: 'W',
    commands: ['approve'],
    help: 'the four words that the machine shows',
  },
  {
    key: 'inviteFor',
    name: 'for',
    kind: 'duration',
    value: 'DURATION',
    default: '15m',
    commands: ['invite'],
    help: 'how long the invite is good',
  },
  {
    key: 'pause.for',
    name: 'for',
    kind: 'duration',
    value: 'DURATION',
    commands: ['pause'],
    help: 'resume by itself after so long',
  },
  { key: 'pause.gpu', name: 'gpu', kind: 'switch', commands: ['pause'], help: 'only GPU work' },
  {
    key: 'pause.now',
    name: 'now',
    kind: 'optional',
    value: 'WAY',
    choices: ways,
    commands: ['pause'],
    help: 'what runs here makes way too: as --give-way of join says, else it ends, and runs again elsewhere; or finish, freeze, suspend, suspend/end, end',
  },
  { key: 'resume.gpu', name: 'gpu', kind: 'switch', commands: ['resume'], help: 'only GPU work' },
  {
    key: 'recover.force',
    name: 'force',
    kind: 'switch',
    commands: ['recover'],
    help: 'go on without a majority: what the others alone decided is lost',
  },
  {
    key: 'recover.off',
    name: 'off',
    kind: 'list',
    value: 'NAME',
    commands: ['recover'],
    help: 'a machine that you have seen switched off; without a terminal all of them, and --yes',
  },
  {
    key: 'configForce',
    name: 'force',
    kind: 'switch',
    commands: ['config init'],
    help: 'overwrite the one that is there',
  },
  {
    key: 'demo.keep',
    name: 'keep',
    kind: 'switch',
    commands: ['demo'],
    help: "leave the agents' homes in the temporary folder",
  },
  {
    key: 'fallback.out',
    name: 'out',
    kind: 'text',
    value: 'DIR',
    commands: ['fallback'],
    help: 'folder of config.toml (default: fallback in the home)',
  },
  {
    key: 'fallback.end',
    name: 'end',
    kind: 'switch',
    commands: ['fallback'],
    help: 'the way back: remove the config and its tokens',
  },
  {
    key: 'practice.port',
    name: 'port',
    kind: 'port',
    value: 'N',
    default: '0',
    commands: ['practice-gitlab'],
    help: 'port; 0: any free one',
  },
  {
    key: 'practice.host',
    name: 'host',
    kind: 'text',
    value: 'ADDR',
    default: '127.0.0.1',
    commands: ['practice-gitlab'],
    help: 'address to listen on',
  },
  {
    key: 'practice.url',
    name: 'url',
    kind: 'text',
    value: 'URL',
    commands: ['practice-gitlab'],
    help: 'how it is reached, where not at the address it listens on',
  },
  {
    key: 'practice.data',
    name: 'data',
    kind: 'text',
    value: 'DIR',
    commands: ['practice-gitlab'],
    help: 'keep its state there',
  },
  {
    key: 'practice.pace',
    name: 'pace',
    kind: 'choice',
    choices: ['fast', 'real'],
    default: 'fast',
    value: 'PACE',
    commands: ['practice-gitlab'],
    help: 'real: answer as slowly as GitLab does',
  },
  {
    key: 'serviceSystem',
    name: 'system',
    kind: 'switch',
    commands: ['service install', 'service uninstall', 'service status'],
    help: 'a system service (needs root)',
  },
  {
    key: 'serviceUser',
    name: 'user',
    kind: 'switch',
    commands: ['service install', 'service uninstall', 'service status'],
    help: "this user's service",
  },
];

export const flags: readonly Flag[] = [
  ...globals,
  ...joinFlags,
  ...others,
  ...historyFlags,
  ...pageFlags,
  ...gitlabFlags,
  ...notifyFlags,
];

export const flagsOf = (command: string): Flag[] => flags.filter((flag) => flag.commands.includes(command));

/** `jobs.all` -> `AUTOGIT_JOBS_ALL`, `reserveMemory` -> `AUTOGIT_RESERVE_MEMORY`. */
export const variableOf = (flag: Flag): string =>
  `AUTOGIT_${flag.key
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .replaceAll('.', '_')
    .toUpperCase()}`;

/** The flag as a person types it. */
export const spellingOf = (flag: Flag): string => (flag.default === true ? `--no-${flag.name}` : `--${flag.name}`);
