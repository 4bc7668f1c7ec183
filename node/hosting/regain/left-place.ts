import { type Dirent, existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';
import { newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import type { DataPlace } from '../data-place.ts';
import { HostMounts } from '../host-mounts.ts';
import { holdersBelow, sayHolder } from '../mount-table.ts';
import { openPlace } from '../place-making.ts';
import { placeProblem } from '../place-problem.ts';
import { contentOf, type DataOwner, markerIn, type PlaceClaim, readClaim } from '../place-records.ts';
import { broughtOf, copiesOf, realFolder, treeOf } from '../place-tree.ts';
import { bulkBeside } from '../replica/bulk-beside.ts';
import { type SystemTools, systemTools } from '../system-tools.ts';
import { keptRounds, roundFolder, versionIn } from '../vault/kept-rounds.ts';
import { missingIn, readAbout, replacedEpochs, replacedFolder } from '../vault/vault-tree.ts';
import { writtenAt } from '../written-at.ts';

/** GitLab's data of a mesh that is gone, as they lie on this machine. */
export interface LeftPlace {
  path: string;
  kind: PlaceClaim['kind'];
  /** Whose they are by the claim: the mesh that is gone, or this one where it was cut off while it took them. */
  mesh: string;
  data: string;
  /** `host`: GitLab ran on them. `copies`: rounds that another machine brought. */
  what: 'host' | 'copies';
  /** The highest that anything in them names: the next one has to be above it. */
  epoch: number;
  /** Newest round, and when it was taken by the host's clock. Of data on which GitLab ran they are older than these. */
  round: { name: RoundName; wallMs: number } | null;
  /** When GitLab last wrote, where that is told; 0 where not. */
  at: number;
  /** As GitLab notes it in its data. */
  version: string | null;
  /** As a restore or an upgrade noted it. */
  image: string | null;
}

/** The place itself, open, and what it needs to be closed again. */
interface Open {
  place: DataPlace;
  claim: PlaceClaim;
  path: string;
}

const folderHint = 'name the folder with autogit-place.json: --data DIR';

/** Whether that folder is a place that a mesh made: another one is a matter of `adopt` of a container. */
export const isLeftPlace = (folder: string): boolean => {
  try {
    return contentOf(realFolder(folder)) === 'place';
  } catch {
    return false;
  }
};

/** What lies there. An image is mounted for it and let go of again; nothing else is changed. Throws in words. */
export async function lookAtPlace(folder: string, mesh: string, tools: SystemTools = systemTools): Promise<LeftPlace> {
  return withPlace(folder, tools, async ({ place, claim, path }) => whatIsIn(place, { claim, path, mesh }));
}

/** Opened by whomever it belongs to: it holds up nobody's data, and writes none. */
export async function withPlace<T>(folder: string, tools: SystemTools, use: (open: Open) => Promise<T>): Promise<T> {
  const path = realOf(folder);
  const claim = requireClaim(path);
  const mounts = new HostMounts(tools);
  const owner = { mesh: claim.mesh, data: claim.data, epoch: 1 };
  refuseHeld(path);
  const wish = { ...owner, create: null, role: 'standby' as const, isUnchecked: true };
  const place = await openPlace({ kind: claim.kind, path }, wish, tools, mounts);
  try {
    refuseHeld(treeOf(place));
    return await use({ place, claim, path });
  } finally {
    await place.close();
  }
}

function requireClaim(path: string): PlaceClaim {
  const content = contentOf(path);
  if (content !== 'place') {
    refuseNear(path);
    const what = content === 'foreign' ? 'holds files, and no place that a mesh made' : 'holds nothing';
    throw placeProblem(`${path} ${what}`, folderHint);
  }
  const claim = readClaim(path) as PlaceClaim;
  if (claim.state === 'making')
    throw placeProblem(`${path} was never made to its end: no GitLab ran on it`, folderHint);
  if (claim.state === 'removing')
    throw placeProblem(`${path} is being deleted, as a person said: it is not whole any more`, folderHint);
  return claim;
}

/** Throws where that is no place, and one lies in it or around it: that was meant, and a container's data cannot lie there. */
export function refuseNear(named: string): void {
  const folder = realOf(named);
  const below = placesIn(folder);
  if (below.length > 0)
    throw placeProblem(
      `${folder} has places of GitLab in it`,
      `name one of them: ${below.map((one) => `--data ${one}`).join(', ')}`,
    );
  for (let above = dirname(folder); above !== dirname(above); above = dirname(above))
    if (contentOf(above) === 'place')
      throw placeProblem(`${folder} lies in a place of GitLab`, `name that: --data ${above}`);
}

function realOf(named: string): string {
  try {
    return realFolder(named);
  } catch (error) {
    if (error instanceof AutogitError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw placeProblem(`${named} cannot be looked at: ${code}`, `look at it: ls -la ${named}`, error);
  }
}

function placesIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && contentOf(join(path, entry.name)) === 'place')
      .map(({ name }) => join(path, name))
      .slice(0, 4);
  } catch {
    return []; // A file, or none.
  }
}

/** A container that its agent has left, or one that somebody started: two on the same data damage them. */
function refuseHeld(path: string): void {
  if (!existsSync(path)) return;
  const holder = holdersBelow(path)[0];
  if (holder)
    throw placeProblem(
      `${path} is still held by ${sayHolder(holder)}: a GitLab runs on it`,
      'end that container, then this again: docker ps',
    );
}

function whatIsIn(
  place: DataPlace,
  { claim, path, mesh }: { claim: PlaceClaim; path: string; mesh: string },
): LeftPlace {
  const tree = treeOf(place);
  refuseLinks(tree);
  const isHost = existsSync(join(tree, 'live'));
  const rounds = { hot: keptRounds(tree, 'hot'), bulk: keptRounds(tree, 'bulk') };
  const newest = newestOf(rounds.hot);
  const live = isHost ? join(tree, 'live') : newest && roundFolder(tree, 'hot', newest.name);
  if (live === null) throw placeProblem(`${path} holds copies, and no whole round of a GitLab among them`, folderHint);
  if (!isHost && newest !== null && bulkBeside(newest, rounds.bulk) === null)
    throw placeProblem(
      `${path} holds no artifacts and packages that go with its newest round ${roundText(newest.name)}: it was lost before they came`,
      'take another copy; or deploy a new GitLab, and restore a backup into it',
    );
  const marker = requireMarker(join(live, 'data'), claim, [claim.mesh, mesh]);
  const missing = missingIn(live);
  if (missing !== null) throw placeProblem(`${path} is half of a GitLab: ${missing} is not in it`, folderHint);
  const replaced = isHost ? replacedEpochs(tree) : [];
  const epochs = [...rounds.hot, ...rounds.bulk].map(({ name }) => name.epoch);
  const about = replaced.length === 0 ? null : readAbout(replacedFolder(tree, replaced.at(-1) as number));
  return {
    ...{ path, kind: claim.kind, mesh: claim.mesh, data: claim.data, what: isHost ? 'host' : 'copies' },
    epoch: Math.max(marker.epoch, ...epochs, ...replaced),
    round: newest && { name: newest.name, wallMs: newest.wallMs },
    at: isHost ? writtenAt(live) : (newest?.wallMs ?? 0),
    version: versionIn(live),
    image: about?.image ?? null,
  };
}

/** Throws where a folder of a place is a link: no mesh makes one, and what is done with the place would be done elsewhere. */
function refuseLinks(tree: string): void {
  const rounds = [copiesOf(tree), broughtOf(tree)];
  const parts = rounds.flatMap((at) => [join(at, 'hot'), join(at, 'bulk')]);
  for (const folder of [tree, ...rounds, ...parts, ...parts.map((at) => join(at, 'rounds'))]) {
    const link = entriesOf(folder).find((entry) => entry.isSymbolicLink());
    if (link === undefined) continue;
    const at = join(folder, link.name);
    throw placeProblem(`${at} is a link: no mesh made that`, `look where it leads: ls -la ${at}`);
  }
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Of this GitLab, by whichever of both meshes. */
function requireMarker(data: string, { data: id }: PlaceClaim, meshes: readonly string[]): DataOwner {
  const marker = markerIn(data);
  const look = `look at it, and start nothing on it: ls -la ${data}`;
  if (marker === null) throw placeProblem(`${data} carries no marker of a mesh, or a damaged one`, look);
  if (!meshes.includes(marker.mesh) || marker.data !== id)
    throw placeProblem(`${data} carries the marker of another GitLab (${marker.data}) than its place (${id})`, look);
  return marker;
}

/** As one line says it to a person. */
export function leftWords({ path, what, mesh, data, epoch, round }: LeftPlace): string {
  const of = `of mesh ${mesh.slice(0, 8)} (data ${data}, epoch ${epoch})`;
  if (what === 'host') return `${path} has the data on which a GitLab ran, ${of}`;
  return `${path} has copies of a GitLab ${of}; the newest round is ${round === null ? 'none' : roundText(round.name)}`;
}
