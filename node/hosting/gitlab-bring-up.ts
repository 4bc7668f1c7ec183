import { AutogitError } from '../../protocol/errors.ts';
import type { HostedGitlab } from '../../protocol/ledger.ts';
import { hostedUrl } from '../../scheduler/hosting/hosted-edits.ts';
import { type DataFolders, type DataPlace, insideContainer } from './data-place.ts';
import { omnibusEnv } from './omnibus-config.ts';
import { presets } from './presets.ts';
import { hooksInside, putHook } from './push/push-hook.ts';
import { bridgeOf } from './service-container.ts';
import type { ServiceHost, ServiceImage, ServiceKey } from './service-host.ts';

interface BringUp {
  host: ServiceHost;
  key: ServiceKey;
  hosted: HostedGitlab;
  /** Of the agent: its folder of hooks is the container's too. */
  home: string;
  place(): Promise<DataPlace>;
  /** Throws when this machine may not run it (any more). */
  requireLease(): void;
  say(phase: string, percent: number | null): void;
  signal: AbortSignal;
}

/** This machine may not run it (any more): no fault of GitLab's. */
export class LeaseGone extends Error {}

async function imageFor({ host, hosted, say, signal }: BringUp): Promise<ServiceImage> {
  const { image: name } = hosted;
  const onProgress = (done: number, total: number): void =>
    say(`pulls the image ${name}`, total === 0 ? null : Math.floor((done / total) * 100));
  say(`looks for the image ${name}`, null);
  const image = await host.image(name, { pull: true, onProgress, signal });
  const { arch } = await host.check();
  if (image !== null && image.arch !== arch)
    throw new AutogitError('image-missing', `image ${name} is for ${image.arch}, and this machine is ${arch}`, {
      hint: 'name an image for this kind of machine: autogit-node gitlab deploy --image IMAGE',
    });
  return image as ServiceImage;
}

/**
 * Place, image, container. The lease is asked before the first thing and before the last, and the container that came of it
 * is looked into: one that sees other folders than ours is an empty GitLab over the old one, and is killed at once.
 */
export async function bringUp(what: BringUp): Promise<void> {
  const { host, key, hosted, say, requireLease } = what;
  requireLease();
  say('opens its data place', null);
  const place = await what.place();
  const image = await imageFor(what);
  await place.check();
  const preset = presets[hosted.preset];
  const { folders } = place;
  requireLease();
  say('starts its container', null);
  const id = await host.start({
    ...key,
    imageId: image.id,
    hostname: hosted.hostname,
    bridge: bridgeOf(hosted.data),
    env: omnibusEnv({
      url: hostedUrl(hosted),
      sshPort: hosted.sshPort,
      preset,
    }),
    folders: {
      ...Object.fromEntries(
        (Object.keys(insideContainer) as (keyof DataFolders)[]).map((name) => [folders[name], insideContainer[name]]),
      ),
      [await putHook(what.home)]: hooksInside,
    },
    shmBytes: preset.shmBytes,
    memoryLimitBytes: preset.memoryLimitBytes,
  });
  const pid = (await host.look(id))?.pid ?? null;
  // What has ended already says so itself at the next look.
  if (pid === null) return;
  try {
    place.checkInside(pid);
  } catch (error) {
    if ((await host.look(id))?.pid !== pid) return;
    await host.kill(id);
    throw error;
  }
}
