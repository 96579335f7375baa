// Who looks: a bearer token, if the service asks for one. It is kept as long as the tab is open.

import { find, say } from "./page.js";

const KEY = "orders.token";
let token = sessionStorage.getItem(KEY);

// fetch, with the token.
export function ask(path, request = {}) {
  const headers = token ? { ...request.headers, authorization: `Bearer ${token}` } : request.headers;
  return fetch(path, { ...request, headers });
}

// Offers the form until a token is given, then calls `again`.
export function offerSigningIn(again) {
  find("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    // What no token has cannot be sent: such a request would fail like one to a service that is away, and be tried again for ever.
    token = find("token").value.replace(/[^!-~]/g, "");
    sessionStorage.setItem(KEY, token);
    find("token").value = "";
    find("sign-in").hidden = true;
    again();
  });
  find("sign-out").addEventListener("click", () => {
    sessionStorage.removeItem(KEY);
    location.reload();
  });
}

// The service takes no token, or not this one.
export async function refused(answer) {
  const problem = await answer.json().catch(() => null);
  const missing = problem?.type === "urn:orders:problem:missing-token";
  say(find("connection"), missing ? "Sign in with a token of an operator" : problem?.detail ?? `Answered ${answer.status}`);
  find("sign-in").hidden = false;
  find("token").focus();
}

// What the caller may do: all commands, or some. Links cannot send a token.
export function showSession({ commands, signed_in }) {
  find("sign-out").hidden = !signed_in;
  find("links").hidden = signed_in;
  for (const id of ["create", "burst"]) find(id).hidden = !commands.includes("create");
}
