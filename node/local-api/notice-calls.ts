import type { z } from 'zod';
import { ChangeOutcome } from '../../protocol/changes.ts';
import { NoticesAnswer, NoticesTested, type NoticeTargetRequest } from './socket-protocol.ts';

/** Of whom the mesh tells that something is wrong. */
export interface NoticeCalls {
  notices(): Promise<NoticesAnswer>;
  noticeAdd(request: NoticeTargetRequest): Promise<ChangeOutcome>;
  noticeRemove(name: string): Promise<ChangeOutcome>;
  noticeTest(name: string | null): Promise<z.infer<typeof NoticesTested>>;
}

export const callsOfNotices = (
  get: <S extends z.ZodType>(schema: S, path: string) => Promise<z.output<S>>,
  post: <S extends z.ZodType>(schema: S, path: string, body: unknown) => Promise<z.output<S>>,
): NoticeCalls => ({
  notices: () => get(NoticesAnswer, '/v1/notify'),
  noticeAdd: (request) => post(ChangeOutcome, '/v1/notify/add', request),
  noticeRemove: (name) => post(ChangeOutcome, '/v1/notify/remove', { name }),
  noticeTest: (name) => post(NoticesTested, '/v1/notify/test', { name }),
});
