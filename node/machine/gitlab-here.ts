import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { shown } from '../foreign-text.ts';
import { cloneLabels, isTakenIn, serviceLabels } from '../hosting/service-container.ts';
import { askDisk } from './asked-disk.ts';
import { askEngine, canAsk, dockerAddress } from './docker-ask.ts';

/** A GitLab of this machine that was set up without the mesh: the omnibus image in a container, or the Linux package. */
export interface GitlabHere {
  /** The container's name; null for the package. */
  container: string | null;
  /** As image tag or package say it: "17.5.1"; null where a tag names none. */
  version: string | null;
  isRunning: boolean;
  /** The engine's words: "Exited (137) 2 days ago". */
  status: string;
  /** What it calls itself, else where its web port is published; null where neither is known. */
  url: string | null;
  /** Its web port is published for this machine alone. */
  isLocalOnly: boolean;
  /** Folder of its data on this machine; null for a volume without a path. */
  data: string | null;
}

const Mount = z.object({ Destination: z.string(), Source: z.string().optional() });
const Port = z.object({ PrivatePort: z.int(), PublicPort: z.int().optional(), IP: z.string().optional() });
export const ContainerId = z.string().regex(/^[0-9a-f]{12,64}$/);
const Summary = z.object({
  Id: ContainerId,
  Names: z.array(z.string()).min(1),
  Image: z.string(),
  State: z.string(),
  Status: z.string(),
  Ports: z.array(Port).nullish(),
  Mounts: z.array(Mount).nullish(),
  HostConfig: z.object({ NetworkMode: z.string().optional() }).nullish(),
  Labels: z.record(z.string(), z.string()).nullish(),
});
type Summary = z.infer<typeof Summary>;
const Details = z.object({ Config: z.object({ Env: z.array(z.string()).nullish() }) });

/** What a container is called that the mesh has taken over: it is kept, and stands still. */
export const parkedSuffix = '-before-autogit';

/** More on one machine is nobody's home lab. */
const most = 8;
const configBytes = 1 << 20;
/** In its package and in its image alike. */
export const packageVersion = '/opt/gitlab/embedded/service/gitlab-rails/VERSION';
const packageConfig = '/etc/gitlab/gitlab.rb';

/** Looks, and changes nothing; an engine that is not there or does not answer shows no container. */
export async function findGitlabHere(
  dockerHost: string | null,
  paths = { version: packageVersion, config: packageConfig },
): Promise<GitlabHere[]> {
  const [containers, ofPackage] = await Promise.all([inContainers(dockerHost), asPackage(paths)]);
  return [...ofPackage, ...containers];
}

/** A GitLab that a mesh runs, or ran, on this machine. */
export interface HostedHere {
  container: string;
  mesh: string;
  data: string | null;
}

/** The containers by which it is told whether one was left behind. As `findGitlabHere`: looks, and changes nothing. */
export async function findHostedHere(dockerHost: string | null): Promise<HostedHere[]> {
  const address = dockerAddress(dockerHost);
  if (address === null || !canAsk(address)) return [];
  const all = await containersOf(address).catch(() => []);
  const found = all.flatMap((one) => {
    const mesh = one.Labels?.[serviceLabels.mesh];
    const booted = one.Labels?.[cloneLabels.data];
    const isService =
      one.Labels?.[serviceLabels.data] !== undefined || (booted !== undefined && isTakenIn(booted, one.Names));
    const isOurs = mesh !== undefined && isService;
    return isOurs ? [{ container: nameOf(one), mesh, data: sourceOf(one, '/var/opt/gitlab') }] : [];
  });
  return found.slice(0, most);
}

/** All containers of an engine. Throws where it does not answer. */
export async function containersOf(address: string): Promise<Summary[]> {
  const all = z.array(z.unknown()).parse(await askEngine(address, '/containers/json?all=1'));
  return all.flatMap((one) => Summary.safeParse(one).data ?? []);
}

async function inContainers(dockerHost: string | null): Promise<GitlabHere[]> {
  const address = dockerAddress(dockerHost);
  if (address === null || !canAsk(address)) return [];
  try {
    const found = (await containersOf(address)).filter(isOmnibus);
    return await Promise.all(
      found.slice(0, most).map(async (one) => {
        // Removed meanwhile, or an answer that is none: the others are shown all the same.
        const own = await ownAddress(address, one).catch(() => null);
        return describe(one, own ?? published(one));
      }),
    );
  } catch {
    return [];
  }
}

/** By the image's name or, where an image was built or pulled under another, by the two folders that no other has. */
export function isOmnibus({ Image, Mounts, Labels }: Summary): boolean {
  // The mesh's own, and what it tries out: `status` tells of that.
  if (Labels?.[serviceLabels.data] !== undefined || Labels?.[cloneLabels.data] !== undefined) return false;
  if (/(^|\/)gitlab-(ce|ee)(:|@|$)/.test(Image)) return true;
  const inside = (Mounts ?? []).map(({ Destination }) => Destination);
  return inside.includes('/etc/gitlab') && inside.includes('/var/opt/gitlab');
}

const nameOf = ({ Names: [first = ''] }: Summary): string => shown(first.replace(/^\//, '')).slice(0, 100);

const sourceOf = ({ Mounts }: Summary, inside: string): string | null =>
  Mounts?.find(({ Destination, Source }) => Destination === inside && Source?.startsWith('/'))?.Source ?? null;

const webPorts = ({ Ports }: Summary): z.infer<typeof Port>[] =>
  (Ports ?? []).filter(({ PrivatePort, PublicPort }) => PublicPort !== undefined && PrivatePort !== 22);

function describe(one: Summary, url: string | null): GitlabHere {
  const web = webPorts(one);
  const data = sourceOf(one, '/var/opt/gitlab');
  return {
    container: nameOf(one),
    version: /:(\d+\.\d+\.\d+)/.exec(one.Image)?.[1] ?? null,
    isRunning: one.State === 'running',
    status: shown(one.Status),
    url,
    isLocalOnly: web.length > 0 && web.every(({ IP }) => IP !== undefined && /^(127\.|::1$)/.test(IP)),
    data: data === null ? null : shown(data),
  };
}

/** Its environment holds passwords too: nothing of it but the address leaves this function. */
async function ownAddress(address: string, one: Summary): Promise<string | null> {
  const { success, data } = Details.safeParse(await askEngine(address, `/containers/${one.Id}/json`));
  const configured = success ? data.Config.Env?.find((line) => line.startsWith('GITLAB_OMNIBUS_CONFIG=')) : undefined;
  const config = sourceOf(one, '/etc/gitlab');
  return (
    externalUrlIn(configured?.slice('GITLAB_OMNIBUS_CONFIG='.length) ?? '') ??
    (config === null ? null : externalUrlIn((await textIn(join(config, 'gitlab.rb'))) ?? ''))
  );
}

/** The last `external_url '…'` of Ruby that counts. */
export function externalUrlIn(ruby: string): string | null {
  const statements = ruby.split('\n').flatMap((line) => (/^\s*#/.test(line) ? [] : line.split(';')));
  const said = statements.flatMap((one) => /^external_url[ (]+(['"])([^'"\s]{1,300})\1/.exec(one.trim())?.[2] ?? []);
  const url = said.at(-1);
  if (url === undefined || !URL.canParse(url)) return null;
  const { protocol, username, password, href } = new URL(url);
  return /^https?:$/.test(protocol) && username === '' && password === '' ? href.replace(/\/+$/, '') : null;
}

function published(one: Summary): string | null {
  if (one.HostConfig?.NetworkMode === 'host') return `http://${hostname()}`;
  const web = webPorts(one);
  const port = web.find(({ PrivatePort }) => PrivatePort === 80) ?? web.find(({ PrivatePort }) => PrivatePort === 443);
  if (port === undefined) return null;
  const url = new URL(`${port.PrivatePort === 443 ? 'https' : 'http'}://${hostname()}:${port.PublicPort}`);
  return url.href.replace(/\/+$/, '');
}

async function asPackage(paths: { version: string; config: string }): Promise<GitlabHere[]> {
  const version = await textOf(paths.version);
  if (version === null) return [];
  const url = externalUrlIn((await textOf(paths.config)) ?? '');
  const said = /^\d+\.\d+\.\d+/.exec(version)?.[0] ?? null;
  return [{ container: null, version: said, isRunning: true, status: '', url, isLocalOnly: false, data: null }];
}

/** Of a folder that a person chose for a container: throws `backup` where its disk does not answer. */
export const textIn = (path: string): Promise<string | null> => askDisk(path, () => textOf(path));

/** Null where the file is not there, may not be read by this user, or is no such file. */
async function textOf(path: string): Promise<string | null> {
  // A pipe would not be opened before somebody writes into it.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => null);
  try {
    if (file === null || !(await file.stat()).isFile()) return null;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(configBytes), 0, configBytes, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } catch {
    return null;
  } finally {
    await file?.close();
  }
}
