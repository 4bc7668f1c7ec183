import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { askDisk } from '../../machine/asked-disk.ts';
import { askEngine, dockerAddress, imagePath } from '../../machine/docker-ask.ts';
import { externalUrlIn, textIn } from '../../machine/gitlab-here.ts';
import type { OmnibusContainer } from '../../machine/omnibus-containers.ts';
import { listensHttpsIn } from '../gitlab-rb.ts';
import { mountOver } from '../mount-table.ts';
import { existingAt, realFolder } from '../place-tree.ts';
import { bytesAtMost, bytesOf } from '../protect/protect-facts.ts';
import type { AdoptedConfig, AdoptFacts, ContainerDetails } from './adopt-plan.ts';
import { besidesOf, foldersOf } from './copied-folders.ts';

/** A large GitLab on a slow disk; a person waits for it. */
const countMs = 15_000;

const Binding = z.object({ HostIp: z.string().nullish(), HostPort: z.string().nullish() });
const Inspected = z.object({
  Image: z.string().max(128),
  Config: z.object({
    Env: z.array(z.string()).nullish(),
    Labels: z.record(z.string(), z.string()).nullish(),
  }),
  HostConfig: z.object({
    AutoRemove: z.boolean().nullish(),
    NetworkMode: z.string().nullish(),
    PortBindings: z.record(z.string(), z.array(Binding).nullish()).nullish(),
    RestartPolicy: z.object({ Name: z.string(), MaximumRetryCount: z.number().optional() }).nullish(),
  }),
  NetworkSettings: z.object({ Ports: z.record(z.string(), z.array(Binding).nullish()).nullish() }).nullish(),
  Mounts: z
    .array(
      z.object({
        ...{ Type: z.string().nullish(), Name: z.string().nullish(), Driver: z.string().nullish() },
        Destination: z.string(),
      }),
    )
    .nullish(),
});
type Inspected = z.infer<typeof Inspected>;
const Volume = z.object({
  Driver: z.string(),
  Options: z.object({ type: z.string().optional(), device: z.string().optional() }).nullish(),
});

const inspect = async (dockerHost: string | null, id: string): Promise<Inspected> =>
  Inspected.parse(await askEngine(dockerAddress(dockerHost) as string, `/containers/${id}/json`));

const configName = 'GITLAB_OMNIBUS_CONFIG=';

/** It may hold passwords: read when it is needed, and kept nowhere but in the configuration of the copy. */
export async function environmentOf(dockerHost: string | null, id: string): Promise<string> {
  const { Config } = await inspect(dockerHost, id);
  return Config.Env?.find((one) => one.startsWith(configName))?.slice(configName.length) ?? '';
}

export interface AdoptFound {
  facts: AdoptFacts;
  restart: { Name: string; MaximumRetryCount?: number };
}

/** Looks at that container, and changes nothing. `place`: where its data shall lie. Throws `no-docker` and `backup`. */
export async function adoptFacts(one: OmnibusContainer, place: string, dockerHost: string | null): Promise<AdoptFound> {
  const found = await inspect(dockerHost, one.id);
  const folders = foldersOf(one);
  const outside = folders.map((folder) => folder.outside);
  const restart = found.HostConfig.RestartPolicy ?? { Name: 'no' };
  return {
    restart: { Name: restart.Name, MaximumRetryCount: restart.MaximumRetryCount ?? 0 },
    facts: {
      container: one,
      details: await detailsOf(found, one, dockerHost),
      config: await configOf(found, one),
      folders,
      place: realFolder(place),
      placeIn: placeIn(outside, realFolder(place)),
      environment: await besidesImage(found, one.image, dockerHost),
      besides: besidesOf(one),
      link: await linkIn(outside),
      dataBytes: await bytesOf(outside, countMs),
      mostBytes: await bytesAtMost(outside),
      isShared: isShared(outside, place),
    },
  };
}

async function detailsOf(
  found: Inspected,
  one: OmnibusContainer,
  dockerHost: string | null,
): Promise<ContainerDetails> {
  const { HostConfig, Config, NetworkSettings, Mounts } = found;
  const address = dockerAddress(dockerHost) as string;
  const named = await askEngine(address, `/images/${imagePath(one.image)}/json`).catch(() => null);
  const version = await askEngine(address, '/version').catch(() => null);
  const labels = Config.Labels ?? {};
  return {
    imageId: found.Image,
    namedImageId: z.object({ Id: z.string() }).safeParse(named).data?.Id ?? null,
    // One that stands still publishes none at the moment.
    ports: portsIn({ ...HostConfig.PortBindings, ...given(NetworkSettings?.Ports) }),
    isHostNetwork: HostConfig.NetworkMode === 'host',
    isRemovedAtStop: HostConfig.AutoRemove === true,
    composeProject: labels['com.docker.compose.project']?.slice(0, 64) ?? null,
    isOfSwarm: labels['com.docker.swarm.service.id'] !== undefined,
    isPodman: JSON.stringify(version ?? '').includes('"Podman Engine"'),
    anonymous: (Mounts ?? [])
      .filter(({ Type, Name }) => Type === 'volume' && /^[0-9a-f]{64}$/.test(Name ?? ''))
      .map(({ Destination }) => Destination)
      .filter((inside) => foldersOf(one).some((folder) => folder.inside === inside)),
    fleeting: await fleetingOf(found, one, address),
  };
}

/**
 * Volumes of a driver, or of the engine's own with a device or a type, as `driver_opts` of docker compose have it: the engine
 * mounts them when their container starts and unmounts them when it ends, and an empty folder is left in their place.
 */
async function fleetingOf({ Mounts }: Inspected, one: OmnibusContainer, address: string): Promise<string[]> {
  const insides = foldersOf(one).map(({ inside }) => inside);
  const fleeting: string[] = [];
  for (const { Type, Name, Driver, Destination } of Mounts ?? []) {
    const inside = Destination.replace(/(.)\/+$/, '$1');
    if (Type !== 'volume' || !insides.includes(inside)) continue;
    const volume = Volume.parse(await askEngine(address, `/volumes/${encodeURIComponent(Name ?? '')}`));
    const { type = '', device = '' } = volume.Options ?? {};
    if ((Driver ?? volume.Driver) !== 'local' || volume.Driver !== 'local' || type !== '' || device !== '')
      fleeting.push(inside);
  }
  return fleeting;
}

type Ports = Record<string, z.infer<typeof Binding>[] | null | undefined>;
const given = (ports: Ports | null | undefined): Ports =>
  Object.fromEntries(Object.entries(ports ?? {}).filter(([, bound]) => bound && bound.length > 0));

export const portsIn = (ports: Ports): ContainerDetails['ports'] =>
  Object.entries(ports).flatMap(([name, bound]) => {
    const inside = Number(/^(\d+)\/tcp$/.exec(name)?.[1] ?? 0);
    const outside = (bound ?? []).flatMap(({ HostPort, HostIp }) => {
      const port = Number(HostPort ?? 0);
      return port > 0 ? [{ port, isLocal: /^(127\.|::1$)/.test(HostIp ?? '') }] : [];
    });
    const [first] = outside;
    return inside === 0 || first === undefined
      ? []
      : [{ inside, outside: first.port, isLocalOnly: outside.every(({ isLocal }) => isLocal) }];
  });

/** What stands in the file wins. */
async function configOf({ Config }: Inspected, one: OmnibusContainer): Promise<AdoptedConfig> {
  const folder = one.mounts.find(({ inside }) => inside === '/etc/gitlab')?.outside;
  const file = folder === undefined ? '' : ((await textIn(join(folder, 'gitlab.rb'))) ?? '');
  const said = Config.Env?.find((line) => line.startsWith(configName))?.slice(configName.length) ?? '';
  const ruby = `${said}\n${file}`;
  return { externalUrl: externalUrlIn(ruby), listensHttps: listensHttpsIn(ruby) };
}

/** What people put on another disk by a link: in the container it leads to another folder than here, and the copy has the link. */
const linkedMost = [
  ...['git-data', 'git-data/repositories', 'gitlab-rails', 'gitlab-rails/shared', 'gitlab-rails/uploads'],
  ...['postgresql', 'postgresql/data'],
];
/** Each of it lies apart where the mesh hosts: artifacts, LFS, packages. */
const apart = 'gitlab-rails/shared';

async function linkIn(folders: readonly string[]): Promise<string | null> {
  for (const folder of folders) {
    for (const name of linkedMost) {
      const path = join(folder, name);
      const isLink = await askDisk(path, () =>
        lstat(path).then(
          (it) => it.isSymbolicLink(),
          () => false,
        ),
      );
      if (isLink) return path;
    }
    const path = join(folder, apart);
    const entries = await askDisk(path, () => readdir(path, { withFileTypes: true }).catch(() => []));
    const linked = entries.find((entry) => entry.isSymbolicLink());
    if (linked) return join(path, linked.name);
  }
  return null;
}

/** The folder of those, as it is named, in which that place lies, whatever links lead to either. */
function placeIn(folders: readonly string[], place: string): string | null {
  const over = folders.find((folder) => {
    const real = realFolder(folder);
    return place === real || place.startsWith(real === '/' ? '/' : `${real}/`);
  });
  return over ?? null;
}

const ImageConfig = z.object({ Config: z.object({ Env: z.array(z.string()).nullish() }).nullish() });
const nameOf = (line: string): string => line.slice(0, line.indexOf('='));

/** Names of the variables that its container has beside the image's own; what they hold may be a secret, and is not told. */
async function besidesImage({ Config }: Inspected, image: string, dockerHost: string | null): Promise<string[]> {
  const address = dockerAddress(dockerHost) as string;
  const found = await askEngine(address, `/images/${imagePath(image)}/json`).catch(() => null);
  const own = new Set(ImageConfig.safeParse(found).data?.Config?.Env ?? []);
  return (Config.Env ?? [])
    .filter((line) => line.includes('=') && !own.has(line) && !line.startsWith(configName))
    .map(nameOf);
}

/** All of it on one file system that can. */
function isShared(folders: readonly string[], place: string): boolean {
  const mount = mountOver(existingAt(place));
  return (
    mount?.type === 'btrfs' &&
    folders.length > 0 &&
    folders.every((folder) => mountOver(folder)?.device === mount.device)
  );
}
