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

/** Of a project's hooks: the one to set (null: make one), and those that go: doubles, and of machines that the mesh has removed. */
export function hookPlan(
  hooks: readonly { id: number; url: string }[],
  { mesh, nodes }: Pick<Ledger, 'mesh' | 'nodes'>,
  self: string,
  tidies: boolean,
): { set: number | null; remove: number[] } {
  const of = hooks.map(({ id, url }) => ({ id, node: nodeOfHook(url, mesh.id) }));
  const [mine, ...doubles] = of.filter(({ node }) => node === self).map(({ id }) => id);
  const strays = of.filter(({ node }) => tidies && node !== null && !Object.hasOwn(nodes, node)).map(({ id }) => id);
  return { set: mine ?? null, remove: [...doubles, ...strays] };
}
