import { join } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';
import { hostedUrl } from '../../../scheduler/hosting/hosted-edits.ts';
import { isOfVersion } from '../../../scheduler/hosting/upgrade-path.ts';
import type { GitlabClones } from '../clone/gitlab-clones.ts';
import type { DataPlace } from '../data-place.ts';
import { versionInside } from '../gitlab-inside.ts';
import type { KeptGitlab } from '../kept-gitlab.ts';
import { treeOf } from '../place-tree.ts';
import type { SystemTools } from '../system-tools.ts';
import { versionIn } from '../vault/kept-rounds.ts';
import { rehearsingFolder, snapshotInto } from '../vault/vault-tree.ts';
import { backgroundMigrations } from './background-migrations.ts';

interface Rehearsal {
  clones: GitlabClones;
  kept: KeptGitlab;
  place: DataPlace;
  /** It is here. */
  image: string;
  roomBytes: number;
  /** A boot that takes longer is none. */
  limitMs: number;
  /** Of the mesh: the clone's data know it too. */
  token: string | null;
  signal: AbortSignal;
  say(phase: string): void;
  tools: SystemTools;
}

/**
 * That image on a writable clone of what GitLab is now, without network, beside what serves: its migrations, its function, its
 * version. How long it took to work. Throws why it did not; nothing of it stays but the read-only snapshot, which the caller drops.
 */
export async function rehearse(what: Rehearsal): Promise<{ tookMs: number; migrations: number }> {
  const { clones, kept, place, image, signal, say } = what;
  const { data, preset } = kept.hosting;
  const tree = treeOf(place);
  say('takes a snapshot for the rehearsal');
  const folder = rehearsingFolder(tree);
  await snapshotInto(folder, tree, false, what.tools);
  const clone = await clones.start(
    {
      ...{ mesh: kept.mesh, data, purpose: 'rehearsal', place, image, preset },
      source: { hot: join(folder, 'live'), bulk: join(folder, 'bulk') },
      url: hostedUrl(kept.hosting),
      roomBytes: what.roomBytes,
      isPolite: true,
    },
    { signal, say: (phase) => say(`rehearsal: ${phase}`) },
  );
  try {
    say('rehearsal: boots and migrates on a clone, GitLab serves');
    const tookMs = await clone.untilItWorks(what.limitMs);
    const inside = { exec: (_id: string, ...how: Parameters<typeof clone.exec>) => clone.exec(...how) };
    // The clone is no GitLab of its own data folder: the note in it is of whoever set it up last.
    const version = (await versionInside(inside, '', what.token)) ?? versionIn(join(clone.folders.data, '..'));
    if (version === null || !isOfVersion(version, image))
      throw new AutogitError(
        'upgrade',
        `on the clone it says that it is GitLab ${version ?? 'of no version'}, and ${image} was to be another`,
        {
          hint: 'look what that image is: autogit-node gitlab upgrade --image IMAGE',
        },
      );
    const left = await backgroundMigrations(inside, '');
    return { tookMs, migrations: (left?.waiting ?? 0) + (left?.failed ?? 0) };
  } finally {
    await clone.end();
  }
}
