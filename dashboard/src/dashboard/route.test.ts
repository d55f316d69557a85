import { describe, expect, it } from "vitest";
import { labelHref, parse, projectHref, title } from "./route";

describe("addresses", () => {
  it.each([
    ["", { page: "projects" }],
    ["#/", { page: "projects" }],
    ["#/projects", { page: "projects" }],
    ["#/projects/", { page: "projects" }],
    ["#/projects/digits", { page: "project", name: "digits" }],
    ["#/projects/digits/", { page: "project", name: "digits" }],
    ["#/jobs", { page: "jobs" }],
    ["#/workers", { page: "workers" }],
    ["#/jobs/1", { page: "unknown" }],
    ["#/projects/a/b", { page: "unknown" }],
    ["#/projects/%E0%A4%A", { page: "unknown" }],
    ["#/elsewhere", { page: "unknown" }],
  ])("%s", (hash, route) => {
    expect(parse(hash)).toEqual(route);
  });

  it("lead back to the project of any name", () => {
    for (const name of ["digits", "a b", "ü/ö", "100%", "?#&"]) expect(parse(projectHref(name))).toEqual({ page: "project", name });
    expect(labelHref("a&b")).toBe("annotate?project=a%26b");
  });

  it("have titles", () => {
    expect([title({ page: "project", name: "digits" }), title({ page: "jobs" }), title({ page: "unknown" })]).toEqual(["digits", "Jobs", "No such page"]);
  });
});
