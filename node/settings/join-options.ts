import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { z } from 'zod';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { MeshName, NodeName, Tag } from '../../protocol/ids.ts';
import { limits } from '../../protocol/limits.ts';
import { webhookPort } from '../../protocol/names.ts';
import { projectPattern } from '../executors/engine-for-jobs.ts';
import { readAddress } from '../network/addresses.ts';
import type { Environment } from '../store/home.ts';
import { readGiveWay, ways } from './give-way.ts';
import { nameFromHost } from './node-name.ts';
import { notifyTargets } from './notify-file.ts';
import { readOwnerHours } from './owner-hours.ts';
import { isPort, parseSize } from './quantities.ts';
import { configOf, homeOf, type JoinOptions, type PlayedGpu, type Settings } from './settings.ts';
import { pageChecks, pageSettings } from './settings-page.ts';
import { spellingOf } from './settings-table.ts';
import { webhookChecks, webhookFlags, webhookSettings } from './settings-webhook.ts';

/** By the flag, or by the line of the file in which it stands. */
const badValue = (settings: Settings, key: string, flag: string, sentence: string): AutogitError => {
  const where = settings.where(key);
  return where === ''
    ? new AutogitError('bad-flag', `${flag}: ${sentence}`)
    : new AutogitError('bad-config', `${where}${key}: ${sentence}`);
};

/** `RTX 3090 Ti:24g`. Throws `bad-flag`. */
export function parsePlayedGpu(text: string): PlayedGpu {
  const at = text.lastIndexOf(':');
  const model = text.slice(0, Math.max(at, 0)).trim();
  if (model === '' || model.length > 100)
    throw new AutogitError('bad-flag', `"${text}" is not MODEL:SIZE, such as "RTX 3090 Ti:24g"`);
  return { model, memoryBytes: parseSize(text.slice(at + 1)) };
}

function playedGpus(settings: Settings): PlayedGpu[] {
  try {
    return settings.list('playGpu').map(parsePlayedGpu);
  } catch (cause) {
    throw badValue(settings, 'playGpu', '--play-gpu', sentenceOf(cause));
  }
}

/** What the network will read when it starts is read before anything of this machine's state is touched. */
const isReadable =
  (flag: '--peer' | '--listen') =>
  (text: string): boolean => {
    try {
      return text.length <= 256 && readAddress(text, flag) !== null;
    } catch {
      return false;
    }
  };
const hasPort = (text: string): boolean => isPort(/:(\d+)\/?$/.exec(text)?.[1] ?? '0');

/** What reads it must take it, and says best what is wrong. */
const readBy = (read: (list: readonly string[]) => unknown): z.ZodType =>
  z.array(z.string()).superRefine((list, context) => {
    try {
      read(list);
    } catch (error) {
      context.addIssue({ code: 'custom', message: sentenceOf(error), params: { isSaid: true } });
    }
  });
/** What it said, of a value that was refused. */
const saidBy = ({ issues }: z.ZodError): string | undefined =>
  issues.find((issue) => issue.code === 'custom' && issue.params?.isSaid === true)?.message;

const meshNameSentence = `a mesh's name has 1 to ${limits.nameChars} printable characters, on one line`;
const checks: Record<string, { schema: z.ZodType; sentence: string }> = {
  name: { schema: NodeName, sentence: 'a name is a-z, 0-9 and -, at most 63 characters' },
  labels: { schema: z.array(Tag).max(limits.labels), sentence: `at most ${limits.labels} labels of 255 characters` },
  peers: {
    schema: z.array(z.string().refine(isReadable('--peer'))).max(limits.addresses),
    sentence: 'an address is host, host:port or /ip4/…/tcp/…, with a port from 1 to 65535',
  },
  listen: {
    schema: z.array(z.string().startsWith('/').refine(isReadable('--listen'))).max(limits.addresses),
    sentence: 'an address to listen on is /ip4/0.0.0.0/tcp/7117, with a port from 0 to 65535',
  },
  mesh: {
    schema: MeshName,
    sentence: meshNameSentence,
  },
  dockerHost: {
    schema: z
      .string()
      .regex(/^(unix|tcp|http|https):\/\/.+/)
      .refine((text) => text.startsWith('unix:') || hasPort(text)),
    sentence: 'it is unix:///… or tcp://HOST:PORT, with a port up to 65535',
  },
  defaultImage: {
    schema: z.string().regex(/^[a-zA-Z0-9][\w.\-/:@]{0,254}$/),
    sentence: 'it is no name of an image; write alpine:3',
  },
  engineForJobs: {
    schema: z.array(z.string().max(512).regex(projectPattern)).max(64),
    sentence: "these are projects, GROUP/PROJECT or GROUP/*, or '*' for all",
  },
  copyRate: { schema: z.int().min(64 << 10), sentence: 'at least 64k a second; without it, what the way has room for' },
  imageRoom: { schema: z.int().min(0).max(90), sentence: 'a percentage from 0 (never) to 90' },
  invite: { schema: z.string().regex(/^[\w.:-]{8,256}$/), sentence: 'it is no invite code' },
  user: {
    schema: z.string().regex(/^(auto:\d{1,10}-\d{1,10}|[a-z_][\w.-]{0,31})$/i),
    sentence: 'it is no user name, nor auto, nor auto:FIRST-LAST',
  },
  giveWay: {
    schema: readBy(readGiveWay),
    sentence: `each is one of ${ways.join(', ')}, or TAG=WAY, such as train=suspend; one for all jobs, and one a tag`,
  },
  ownerHours: {
    schema: readBy(readOwnerHours),
    sentence:
      'each is [DAYS] FROM-TO [gpu], such as weekdays 18:00-23:00, sat+sun 10:00-24:00 or daily 20:00-23:00 gpu',
  },
  ...webhookChecks,
  ...pageChecks,
  maxRuns: { schema: z.int().min(1).max(limits.runsInFlight), sentence: 'at least 1' },
};

/** Refuses what no agent could start with. Throws `bad-flag` (or `bad-config`) naming what is wrong. */
export function checkValues(settings: Settings): void {
  for (const [key, { schema, sentence }] of Object.entries(checks)) {
    const value = settings.get(key);
    if (value === null) continue;
    const { error } = schema.safeParse(value);
    if (error === undefined) continue;
    const code = settings.source(key) === 'flag' ? 'bad-flag' : 'bad-config';
    throw new AutogitError(
      code,
      `${settings.where(key)}${key} "${[value].flat().join(', ')}": ${saidBy(error) ?? sentence}`,
      key === 'name'
        ? { hint: `one that it may have: ${code === 'bad-flag' ? '--name' : 'name:'} ${nameFromHost(String(value))}` }
        : {},
    );
  }
}

/** Typed beside no door they would be for nothing; in a file they may wait for one. Throws `bad-flag`. */
function requireDoor(settings: Settings): void {
  const typed = webhookFlags.find(({ key }) => key !== 'webhook' && settings.source(key) === 'flag');
  if (typed === undefined || webhookSettings(settings) !== null) return;
  throw new AutogitError('bad-flag', `${spellingOf(typed)} is of a door for GitLab's webhooks, and none is open here`, {
    hint: `open it with the same command: --webhook 0.0.0.0:${webhookPort}`,
  });
}

/** Checks everything that `join` takes. Throws `bad-flag` (or `bad-config`) naming what is wrong. */
export function joinOptions(settings: Settings, env: Environment = process.env): JoinOptions {
  checkValues(settings);
  requireDoor(settings);
  const founding = settings.get('new');
  const meshName = typeof founding === 'string' ? founding : null;
  if (meshName !== null && !MeshName.safeParse(meshName).success)
    throw badValue(settings, 'new', '--new', meshNameSentence);
  const isNamed = settings.text('name') !== null;
  return {
    home: resolve(homeOf(settings, env)),
    found: founding === true || meshName !== null ? { name: meshName } : null,
    mesh: settings.text('mesh'),
    // Only typed: in a file or a variable it would leave the mesh again at every start.
    switch: settings.isOn('switch') && settings.source('switch') === 'flag',
    typed: settings
      .entries()
      .filter(({ source }) => source === 'flag')
      .map(({ key }) => key),
    pairMs: settings.number('pair'),
    invite: settings.text('invite'),
    peers: settings.list('peers'),
    name: settings.text('name') ?? nameFromHost(hostname()),
    isNamed,
    witness: settings.isOn('witness'),
    executors: settings.list('executors') as JoinOptions['executors'],
    dockerHost: settings.text('dockerHost'),
    defaultImage: settings.text('defaultImage'),
    imageRoomPercent: settings.number('imageRoom') ?? 15,
    imageAgeMs: settings.number('imageAge') ?? 30 * 86_400_000,
    keepTreesBytes: settings.number('keepTrees'),
    giveWay: readGiveWay(settings.list('giveWay')),
    ownerHours: readOwnerHours(settings.list('ownerHours')),
    sharesGpus: settings.isOn('shareGpus'),
    seesFullScreen: settings.text('fullScreen') !== 'never',
    engineForJobs: settings.list('engineForJobs'),
    labels: settings.list('labels'),
    listen: settings.list('listen'),
    dashboard: pageSettings(settings),
    service: settings.isOn('service'),
    maxRuns: settings.number('maxRuns'),
    reserveMemoryBytes: settings.number('reserveMemory') ?? 0,
    settingsFile: resolve(configOf(settings, env)),
    holdsCopies: settings.text('copies') !== 'never',
    hasDrills: settings.text('drill') !== 'never',
    isStrict: settings.isOn('strict'),
    handsOver: settings.text('handOver') as JoinOptions['handsOver'],
    bootsBeside: settings.text('bootBeside') as JoinOptions['bootsBeside'],
    forwards: settings.text('forward') !== 'never',
    copyRateBytes: settings.number('copyRate'),
    artifactLimitBytes: settings.number('artifactLimit') ?? undefined,
    cacheLimitBytes: settings.number('cacheLimit') ?? undefined,
    sharesCaches: settings.text('cacheShare') !== 'never',
    mdns: settings.isOn('mdns'),
    webhook: webhookSettings(settings),
    notify: notifyTargets(settings.notes, env),
    user: settings.text('user'),
    playGpus: playedGpus(settings),
    input: settings.isOn('input') && !settings.isOn('service'),
    yes: settings.isOn('yes'),
    quiet: settings.isOn('quiet'),
    verbose: settings.isOn('verbose'),
    color: settings.isOn('color') && !env.NO_COLOR,
  };
}
