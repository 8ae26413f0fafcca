/** The point `apiserver.route`: paths of the API server's port that are no resources. */
import { definePoint } from "../contract.ts";
import type { UserInfo } from "../slots/apiserver.ts";

export interface RouteRequest {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** Names in lower case; without `authorization` and `cookie`. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** At most 64 KiB: more is refused with 413. */
  readonly body: string;
  readonly user: UserInfo;
  readonly remoteAddress: string;
}

export interface RouteAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Answers for a path within 10 s, in flow control like any request. Throw an `ApiError` to refuse. */
export interface ServedRoute {
  /** Exact, or a prefix that ends in a slash; the longest that fits answers. Never what the API server serves itself, such as `/api/`. */
  readonly path: string;
  /** Upper case; others are answered with 405. */
  readonly methods: readonly string[];
  /** Who may ask, in place of RBAC: members of one of these groups, and of `system:masters`. */
  readonly groups: readonly string[];
  answer(request: RouteRequest): RouteAnswer | Promise<RouteAnswer>;
}
export const route = definePoint<ServedRoute>("apiserver.route");
