/*
 * The way from one GitLab to a newer one. GitLab's published facts (doc/update/upgrade_paths.md of gitlabhq/gitlabhq, read
 * 2026-11-29 at commit 017a6c12; docs.gitlab.com/update/upgrade_paths says the same rule): a required stop must be run, and its
 * background migrations be over, before a later version is.
 */

type Edition = 'ce' | 'ee';

interface GitlabVersion {
  major: number;
  minor: number;
  patch: number;
  edition: Edition;
}

interface GitlabImage {
  /** All before the tag. */
  repository: string;
  version: GitlabVersion;
}

/**
 * The stops that were published one by one, each with its last patch. Some are required only of instances with certain large
 * tables; nobody here knows whether this is one, and to stop once more costs minutes. 15.1 is required of several web nodes only,
 * which a container is not.
 */
const listed: readonly (readonly [major: number, minor: number, patch: number])[] = [
  [15, 0, 5],
  [15, 4, 6],
  [15, 11, 13],
  [16, 0, 10],
  [16, 1, 8],
  [16, 2, 11],
  [16, 3, 9],
  [16, 7, 10],
  [16, 11, 10],
  [17, 1, 8],
  [17, 3, 7],
  [17, 5, 5],
  [17, 8, 7],
  [17, 11, 7],
];
/** From 17.5 on by rule. */
const stopMinors = [2, 5, 8, 11];
const firstMajor = 15;
const lastListedMajor = 17;

/** As GitLab says it of itself: `19.4.1`, `19.4.1-ee`. Null where that is none. */
export function versionOf(text: string): GitlabVersion | null {
  const found = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:-([\w.-]+))?$/.exec(text);
  if (found === null) return null;
  const [, major = '', minor = '', patch = '', more = ''] = found;
  const edition = more === 'ee' || more.startsWith('ee.') ? 'ee' : 'ce';
  return { major: Number(major), minor: Number(minor), patch: Number(patch), edition };
}

/** By its tag, as GitLab names its images: `gitlab/gitlab-ce:19.4.1-ce.0`, also of a mirror. Null where the tag says no version. */
export function gitlabImageOf(name: string): GitlabImage | null {
  const found = /^(.+):(\d{1,3}\.\d{1,3}\.\d{1,3}-(?:ce|ee)\.\d{1,3})(?:@sha256:[0-9a-f]{64})?$/.exec(name);
  const version = versionOf(found?.[2] ?? '');
  return version === null ? null : { repository: found?.[1] as string, version };
}

/** Without its edition, which the image's name says. */
export const versionText = ({ major, minor, patch }: GitlabVersion): string => `${major}.${minor}.${patch}`;

/** Of a version as GitLab says it, and one as an image's tag does. */
export function isOfVersion(said: string, image: string): boolean {
  const [one, other] = [versionOf(said), gitlabImageOf(image)?.version];
  return (
    one !== null && other !== undefined && versionText(one) === versionText(other) && one.edition === other.edition
  );
}

const compared = (one: GitlabVersion, other: GitlabVersion): number =>
  one.major - other.major || one.minor - other.minor || one.patch - other.patch;

const isBefore = (
  one: Pick<GitlabVersion, 'major' | 'minor'>,
  other: Pick<GitlabVersion, 'major' | 'minor'>,
): boolean => one.major < other.major || (one.major === other.major && one.minor < other.minor);

interface Stop {
  major: number;
  minor: number;
  /** Null: its last one is not known to this program. */
  patch: number | null;
}

/** The stops after that version and before the other, the first of them first. */
function stopsBetween(from: GitlabVersion, to: GitlabVersion): Stop[] {
  const all: Stop[] = listed.map(([major, minor, patch]) => ({ major, minor, patch }));
  for (let major = lastListedMajor + 1; major <= to.major; major += 1)
    all.push(...stopMinors.map((minor) => ({ major, minor, patch: null })));
  return all.filter((stop) => isBefore(from, stop) && isBefore(stop, to));
}

export interface UpgradeStep {
  /** Without the edition. */
  version: string;
  image: string;
}

/** Every image on the way, the wanted one last; or why there is none, with what helps. */
export type UpgradeWay = { steps: UpgradeStep[] } | { refused: string; fix: string | null };

const example = 'gitlab/gitlab-ce:19.4.1-ce.0';
const again = (image: string): string => `autogit-node gitlab upgrade --image ${image}`;

/** `said`: the version that runs, in GitLab's own words. `image`: the wanted one. */
export function upgradeWay(said: string, image: string): UpgradeWay {
  const from = versionOf(said);
  const wanted = gitlabImageOf(image);
  if (wanted === null)
    return {
      refused: `the tag of ${image} does not say which version of GitLab it is, so nobody knows whether GitLab ${said} may be upgraded to it`,
      fix: `name it as GitLab does: ${again(example)}`,
    };
  if (from === null)
    return { refused: `GitLab says that it is ${said}, which is no version that this program knows`, fix: null };
  const to = wanted.version;
  const [now, then] = [versionText(from), versionText(to)];
  if (from.edition !== to.edition)
    return {
      refused: `${image} is another edition (${to.edition.toUpperCase()}) than the one that runs (${from.edition.toUpperCase()}): no upgrade changes that, as backups of one are not taken by the other`,
      fix: `name an image of this edition: ${again(`gitlab/gitlab-${from.edition}:${then}-${from.edition}.0`)}`,
    };
  if (compared(to, from) === 0) return { refused: `GitLab ${now} runs already`, fix: null };
  if (compared(to, from) < 0)
    return {
      refused: `GitLab ${then} is older than ${now}, which runs: what that has made of its data ${then} cannot read`,
      fix: 'data of before come back by a restore: autogit-node gitlab history',
    };
  if (from.major < firstMajor)
    return {
      refused: `GitLab ${now} is older than ${firstMajor}.0, from where on this program knows the way`,
      fix: 'by hand, along https://docs.gitlab.com/update/upgrade_paths',
    };
  return wayBy(stopsBetween(from, to), {
    from: now,
    to: then,
    image,
    repository: wanted.repository,
    edition: to.edition,
  });
}

interface Named {
  from: string;
  to: string;
  image: string;
  repository: string;
  edition: Edition;
}

function wayBy(stops: readonly Stop[], { from, to, image, repository, edition }: Named): UpgradeWay {
  const steps: UpgradeStep[] = [];
  for (const { major, minor, patch } of stops) {
    if (patch === null)
      return {
        refused: `between GitLab ${from} and ${to} lies ${major}.${minor}, at which GitLab must stop, and this program does not know its last patch`,
        fix: `look it up (hub.docker.com/r/gitlab/gitlab-${edition}/tags), then by way of it: ${again(`${repository}:${major}.${minor}.N-${edition}.0`)}`,
      };
    const version = `${major}.${minor}.${patch}`;
    steps.push({ version, image: `${repository}:${version}-${edition}.0` });
  }
  return { steps: [...steps, { version: to, image }] };
}
