import type { FoundHook } from '../../gitlab-bridge/gitlab-hooks.ts';
import type { Ledger } from '../../protocol/ledger.ts';

/** By its path a hook is known as this mesh's, whatever its address is: an older GitLab has no names of hooks. */
export const hookPath = (mesh: string, node: string): string =>
  `/autogit/${encodeURIComponent(mesh)}/${encodeURIComponent(node)}`;

/** The machine whose door a hook leads to; null: it is no hook of this mesh. */
export function nodeOfHook(url: string, mesh: string): string | null {
  const path = URL.canParse(url) ? new URL(url).pathname : '';
  const [, of, node] = /\/autogit\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  try {
    return of !== undefined && node !== undefined && decodeURIComponent(of) === mesh ? decodeURIComponent(node) : null;
  } catch {
    return null;
  }
}

/**
 * Of a project's hooks: the one to set (null: make one), and those that go: doubles, of machines that the mesh has removed, and
 * what GitLab has switched off while this machine was away, which only a new one surely mends (`anew`).
 */
export function hookPlan(
  hooks: readonly FoundHook[],
  { mesh, nodes }: Pick<Ledger, 'mesh' | 'nodes'>,
  self: string,
  tidies: boolean,
): { set: number | null; remove: number[]; anew: boolean } {
  const of = hooks.map((hook) => ({ ...hook, node: nodeOfHook(hook.url, mesh.id) }));
  const mine = of.filter(({ node }) => node === self);
  const set = mine.find(({ isOff }) => !isOff)?.id ?? null;
  const doubles = mine.map(({ id }) => id).filter((id) => id !== set);
  const strays = of.filter(({ node }) => tidies && node !== null && !Object.hasOwn(nodes, node)).map(({ id }) => id);
  return { set, remove: [...doubles, ...strays], anew: set === null && mine.length > 0 };
}
