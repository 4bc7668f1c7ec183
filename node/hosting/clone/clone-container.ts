import type { ContainerCreateOptions } from 'dockerode';
import { omnibusEnv } from '../omnibus-config.ts';
import type { Preset } from '../presets.ts';
import { hooksInside, quietInside } from '../push/push-hook.ts';
import { cloneLabels, serviceLabels, serviceOptions } from '../service-container.ts';
import type { CloneFolders } from './clone-tree.ts';

/** Of this node's: two agents may have one engine. */
const cloneName = (data: string, host: string): string => `autogit-clone-${data}-${host.slice(-8)}`;

export interface CloneSpec {
  mesh: string;
  /** The node that starts it. */
  host: string;
  data: string;
  /** For people who look at the engine: `drill`. */
  purpose: string;
  /** Never a name, which may have become another image meanwhile. */
  imageId: string;
  preset: Preset;
  /** As people type it; nobody reaches it. */
  url: string;
  folders: CloneFolders;
  /** Beside what people or jobs do on this machine: it gets what these leave of its cores and disks. */
  isPolite: boolean;
  /** It may serve one day (beside/); absent: it is thrown away in any case. */
  serves?: ServesLater;
}

/** What the container of a clone has of the GitLab that it may become. */
export interface ServesLater {
  /** In which it would serve. */
  epoch: number;
  hostname: string;
  sshPort: number | null;
}

/**
 * As GitLab's own container, but for what would let it meet anybody: no network at all, so no mail, no webhook, no mirror of what
 * was queued then, and no folder but those of the clone.
 */
export function cloneOptions(spec: CloneSpec): ContainerCreateOptions {
  const { mesh, host, data, preset, folders, serves } = spec;
  const { hostname = 'gitlab-clone', sshPort = null } = serves ?? {};
  const whole = serviceOptions(
    {
      ...{ mesh, host, data, epoch: 0, imageId: spec.imageId, hostname, bridge: '' },
      env: omnibusEnv({ url: spec.url, sshPort, preset, ...(serves && { waitsFor: quietInside }) }),
      folders: {
        [folders.config]: '/etc/gitlab',
        [folders.data]: '/var/opt/gitlab',
        [folders.bulk]: '/var/opt/gitlab/gitlab-rails/shared',
        [folders.logs]: '/var/log/gitlab',
        // Gitaly's configuration names it; nobody pushes to a clone, so no hook waits for a round there.
        [folders.hooks]: hooksInside,
      },
      shmBytes: preset.shmBytes,
      memoryLimitBytes: preset.memoryLimitBytes,
    },
    '',
  );
  return {
    ...whole,
    name: cloneName(data, host),
    Labels: {
      [cloneLabels.data]: data,
      [serviceLabels.mesh]: mesh,
      [serviceLabels.host]: host,
      [cloneLabels.purpose]: spec.purpose,
      ...(serves && { [serviceLabels.epoch]: String(serves.epoch) }),
    },
    HostConfig: {
      ...whole.HostConfig,
      NetworkMode: 'none',
      // What serves one day is as GitLab's own container in all else.
      ...(serves === undefined && {
        // Gitaly runs programs that it unpacks there, and copies lie on a mount on which nothing is run.
        Tmpfs: { '/var/opt/gitlab/gitaly/run': 'rw,exec,nosuid,nodev,mode=0755' },
        // Where memory runs short it goes before anything that somebody needs.
        OomScoreAdj: 800,
      }),
      ...(spec.isPolite && { CpuShares: 128, BlkioWeight: 50 }),
    },
  };
}
