import type { z } from 'zod';
import type { PageApi } from './agent-api.ts';
import { PageKeyAnswer, PageKeysAnswer, PageLink, SaidAnswer } from './socket-protocol.ts';

type Get = <S extends z.ZodType>(schema: S, path: string) => Promise<z.output<S>>;
type Post = <S extends z.ZodType>(schema: S, path: string, body: unknown) => Promise<z.output<S>>;

/** The CLI's side of what concerns the page. */
export const pageCalls = (get: Get, post: Post): PageApi => ({
  pageLink: (role, forMs) => post(PageLink, '/v1/page/link', { role, forMs }),
  pageKey: (role, name) => post(PageKeyAnswer, '/v1/page/key', { role, name }),
  pageKeys: async () => (await get(PageKeysAnswer, '/v1/page/keys')).rows,
  pageKeyRemove: async (name) => (await post(SaidAnswer, '/v1/page/key-remove', { name })).said,
});
