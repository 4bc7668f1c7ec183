import { plural } from '../../scheduler/phrases.ts';
import { shown } from '../foreign-text.ts';
import type { MachineFigures } from '../machine/figures.ts';
import { wrapped } from '../text-wrap.ts';
import { nameFromHost } from './node-name.ts';
import { showBytes } from './quantities.ts';
import { type Flag, flags, spellingOf, variableOf } from './settings-table.ts';

interface TemplateFacts extends MachineFigures {
  readonly host: string;
  readonly version: string;
}

/**
 * The file's parts, in the order in which a person looks for them. What is said to one command or for one moment is in
 * none of them: in a file it would be said again and again.
 */
const parts: readonly (readonly [title: string, keys: readonly string[]])[] = [
  [
    'This machine',
    [
      'name',
      'labels',
      'maxRuns',
      'reserveMemory',
      'giveWay',
      'ownerHours',
      'fullScreen',
      'shareGpus',
      'witness',
      'copies',
      'copyRate',
      'drill',
      'handOver',
      'strict',
      'bootBeside',
      'forward',
      'home',
    ],
  ],
  [
    'Who runs its jobs',
    [
      'executors',
      'user',
      'dockerHost',
      'defaultImage',
      'engineForJobs',
      'imageRoom',
      'imageAge',
      'keepTrees',
      'artifactLimit',
      'cacheLimit',
      'cacheShare',
    ],
  ],
  ['How machines find each other', ['mdns', 'peers', 'listen', 'mesh']],
  ['The page for people', ['dashboard', 'dashboardNames']],
  ['Told at once by GitLab', ['webhook', 'webhookUrl', 'webhookTls', 'webhookAllow']],
  [
    'GitLab',
    [
      'gitlab.tokenEnv',
      ...[
        'image',
        'preset',
        'port',
        'sshPort',
        'hostname',
        'tlsCert',
        'tlsKey',
        'tlsCa',
        'httpPort',
        'data',
        'copies',
        'every',
        'keep',
      ].map((word) => `gitlab.${word}`),
    ],
  ],
  ['What commands print and ask', ['color', 'verbose', 'quiet', 'json', 'input', 'yes']],
];

/** What stands behind the key where the table has no default: it must load when its # is taken away. */
const examples = ({ host, cores }: TemplateFacts): Readonly<Record<string, string>> => ({
  name: nameFromHost(host),
  labels: '[]',
  maxRuns: String(cores),
  giveWay: '[freeze, train=suspend]',
  ownerHours: '[weekdays 18:00-23:00]',
  home: '/srv/autogit-node',
  copyRate: '50m',
  executors: '[docker]',
  user: 'auto',
  dockerHost: 'unix:///var/run/docker.sock',
  keepTrees: '50g',
  engineForJobs: '[lab/app]',
  defaultImage: 'alpine:3',
  cacheLimit: '20g',
  peers: '[]',
  listen: '[/ip4/0.0.0.0/tcp/7117]',
  mesh: 'home',
  dashboardNames: '[mesh.example.org]',
  webhook: '0.0.0.0:7118',
  webhookUrl: `https://${nameFromHost(host)}.lan:7118`,
  webhookTls: '/etc/ssl/private/webhook.pem',
  webhookAllow: '[192.168.1.5]',
  'gitlab.tokenEnv': 'GITLAB_TOKEN',
  'gitlab.hostname': `${nameFromHost(host)}.lan`,
  'gitlab.tlsCert': '/etc/ssl/gitlab.crt',
  'gitlab.tlsKey': '/etc/ssl/private/gitlab.key',
  'gitlab.tlsCa': '/etc/ssl/own-ca.crt',
  'gitlab.data': '/srv/gitlab',
  'gitlab.copies': '[]',
});

/** What a reader would otherwise have to look up: the unit, this machine's figure, or what happens without it. */
const remarks = (facts: TemplateFacts): Readonly<Record<string, string>> => ({
  labels: 'none unless said; jobs ask for them by their tags',
  maxRuns: `no limit unless said; this machine has ${plural(facts.cores, 'core')}`,
  reserveMemory: `of ${showBytes(facts.memoryBytes)} here`,
  copyRate: 'a second; no limit unless said',
  ownerHours: 'none unless said; what runs then makes way as giveWay says',
  giveWay: 'without it they run to their end, and pause --now ends them',
  home: 'without it: ~/.local/state/autogit-node',
  executors: 'without it: docker, where an engine answers',
  dockerHost: 'without it: DOCKER_HOST, else the socket of Docker, rootless Docker or Podman',
  defaultImage: 'without it such jobs fail',
  engineForJobs: 'no jobs unless said',
  imageRoom: 'in percent',
  peers: 'none unless said; machines of one LAN find each other',
  listen: 'without it: port 7117 on all addresses',
  mesh: 'without it: the one that answers',
  webhook: 'off unless said: it opens a port',
  'gitlab.tokenEnv': 'the token itself is never written here',
  'gitlab.image': 'a GitLab that the mesh deploys',
  'gitlab.copies': '[none]: no copies',
});

const comment = (text: string): string =>
  text
    .split('\n')
    .flatMap((line) => wrapped(line, 76))
    .map((line) => `# ${line}`)
    .join('\n');

const units: Partial<Record<Flag['kind'], string>> = { size: 'a size', duration: 'a time', switch: 'on or off' };

function lineOf(flag: Flag, facts: TemplateFacts): string {
  const value =
    flag.kind === 'switch' ? (flag.default === true ? 'on' : 'off') : (flag.default ?? examples(facts)[flag.key] ?? '');
  // A switch that is on by default is told in the help by what its flag does.
  const help = flag.default === true ? `on; off: ${flag.help}` : flag.help;
  const note = [flag.default === true ? undefined : units[flag.kind], remarks(facts)[flag.key]]
    .filter(Boolean)
    .join('; ');
  const said = comment(`${help}${note === '' ? '' : `; ${note}`}\n${spellingOf(flag)}, ${variableOf(flag)}`);
  const [, word] = flag.key.split('.') as [string, string | undefined];
  return word === undefined ? `${said}\n#${flag.key}: ${value}` : `${said}\n#  ${word}: ${value}`;
}

/** No settings of any flag: lists, at the end of the section `gitlab`: a line that a # is taken from is never cut in two. */
const people = [
  comment(
    "This section may also have users and groups that a GitLab of the mesh shall have, made by the machine that hosts it; what is there is left as it is, and nobody's password stands here (autogit-node gitlab password NAME):",
  ),
  '#  users: [{ username: ann, name: Ann Example, email: ann@example.org, admin: false }]',
  '#  groups: [{ path: lab, visibility: private, members: { ann: owner } }]',
].join('\n');

/** Keys of one section stand together, under its name once. */
function linesOf(keys: readonly string[], facts: TemplateFacts): string[] {
  const byKey = new Map(flags.map((flag) => [flag.key, flag]));
  let before = '';
  return keys.flatMap((key) => {
    const flag = byKey.get(key);
    const [section, word] = key.split('.') as [string, string | undefined];
    const head = word === undefined || section === before ? [] : [`#${section}:`];
    before = section;
    return flag ? [...head, lineOf(flag, facts)] : [];
  });
}

/**
 * An autogit.yml with every lasting setting, its default or an example commented out, and this machine's figures: nothing
 * in it counts before somebody takes a # away.
 */
export function settingsTemplate(facts: TemplateFacts): string {
  const gpus = facts.gpus.map(({ model, memoryBytes }) => `${shown(model)} (${showBytes(memoryBytes)})`);
  const head = [
    `# Settings of autogit-node on ${shown(facts.host)}, written by autogit-node config init (${facts.version}).`,
    `# Seen on this machine: ${plural(facts.cores, 'core')}, ${showBytes(facts.memoryBytes)} of memory${gpus.length === 0 ? ', no GPU' : ''}`,
    ...gpus.map((gpu) => `# GPU: ${gpu}`),
    '#',
    comment(
      'Each setting stands here with its default, or with an example where it has none: take the # before it away, and change it. A flag wins over a variable, a variable over this file. What is in force, and where it comes from: autogit-node config',
    ),
    comment(
      'Sizes: 512m, 24g (powers of 1024; a bare number is bytes). Times: 90s, 10m, 2h, 30d (a bare number is seconds). Switches: on, off. Lists: [a, b].',
    ),
    comment('No secret belongs here: a token is named by the variable that holds it.'),
  ];
  const blocks = parts.map(([title, keys]) =>
    [`# --- ${title} ---`, ...linesOf(keys, facts), ...(title === 'GitLab' ? [people] : [])].join('\n\n'),
  );
  return `${[head.join('\n'), ...blocks].join('\n\n')}\n`;
}
