import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { type Hosting, hostedUrl } from '../../scheduler/hosting/hosted-edits.ts';
import type { BesidePort } from './beside/ready-clone.ts';
import { type DataFolders, type DataPlace, insideContainer } from './data-place.ts';
import { isEnding } from './mount-table.ts';
import { omnibusEnv } from './omnibus-config.ts';
import { presets } from './presets.ts';
import { hooksInside, putHooks } from './push/push-hook.ts';
import { bridgeOf } from './service-container.ts';
import type { ServiceHost, ServiceImage, ServiceKey, ServiceSpec } from './service-host.ts';

interface BringUp {
  /** What was booted here beforehand. */
  beside?: BesidePort | undefined;
  host: ServiceHost;
  key: ServiceKey;
  hosted: Hosting;
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
  const [image, { arch }] = await Promise.all([host.image(name, { pull: true, onProgress, signal }), host.check()]);
  if (image !== null && image.arch !== arch)
    throw new AutogitError('image-missing', `image ${name} is for ${image.arch}, and this machine is ${arch}`, {
      hint: 'name an image for this kind of machine: autogit-node gitlab deploy --image IMAGE',
    });
  return image as ServiceImage;
}

/**
 * Place, image, container. The lease is asked before the first thing and before the last, and the container that came of it
 * is looked into: one that sees other folders than ours is an empty GitLab over the old one, and is killed at once. What was booted
 * here beforehand, on these very data, serves instead of a new one: since when that runs, by this machine's clock; null else.
 */
export async function bringUp(what: BringUp): Promise<number | null> {
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
  const spec: ServiceSpec = {
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
      [await putHooks(what.home)]: hooksInside,
    },
    shmBytes: preset.shmBytes,
    memoryLimitBytes: preset.memoryLimitBytes,
  };
  const startedAtMs = await takenIn(what, spec, place);
  if (startedAtMs !== null) return startedAtMs;
  // Of an agent that was killed: two on the same data would ruin them.
  await what.beside?.none(hosted);
  const id = await host.start(spec);
  const pid = (await host.look(id))?.pid ?? null;
  // What has ended already says so itself at the next look.
  if (pid === null) return null;
  try {
    place.checkInside(pid);
  } catch (error) {
    // How it ended the next look says.
    if (isEnding(pid) || (await host.look(id))?.pid !== pid) return null;
    await host.kill(id);
    throw error;
  }
  return null;
}

/** It has these very folders, with the marker of this epoch, before it gets a network. Whatever speaks against it: it is not used. */
async function takenIn(
  { beside, hosted, host, requireLease, say }: BringUp,
  spec: ServiceSpec,
  place: DataPlace,
): Promise<number | null> {
  const ready = beside?.ready(hosted) ?? null;
  if (beside === undefined || ready === null) return null;
  say('takes in what was booted beforehand', null);
  const look = await host.look(ready.id);
  if (look?.pid == null) return null;
  try {
    place.checkInside(look.pid);
    requireLease();
    await host.takeIn(ready.id, spec);
  } catch (error) {
    if (error instanceof LeaseGone || (error instanceof AutogitError && error.code === 'no-docker')) throw error;
    say(`boots anew: ${sentenceOf(error)}`.slice(0, 200), null);
    return null;
  }
  await beside.taken();
  return look.startedAtMs;
}
